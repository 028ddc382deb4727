"""The int8 model: derived from a weights file by post-training quantisation, kept as an artefact.

NNCF (arXiv:2002.08679) watches the activations on calibration slices and quantises the network; what
makes features of its activations stays in single precision, since a quantised norm is no norm. So do the
network's first layer and the last joint of its decoder: there a few channels with large values leave the
others few steps (ADR 8). Weights use seven of the eight bits: on CPUs without VNNI the products of two bytes
are added in 16 bits, which saturate otherwise.

An artefact is a folder, named by the digest of the weights it is derived from. Its manifest names what it
was made of (weights, calibration slices, versions) and the digests of its files. What differs from that is
refused: an artefact is never stale.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import shutil
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.errors import OperatorError
from stages.files import make_directory, whole_directory, write_whole
from stages.segment import checkpoint
from stages.segment.export import to_openvino
from stages.segment.unreported import unreported

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stages.segment.checkpoint import WeightsInfo

FORMAT = 3  # 3: first layer and last joint are exact
LEAST_SLICES = 32  # fewer say little about the range of an activation
MODEL = ("model.xml", "model.bin")
MANIFEST = "manifest.json"
# The names that torch's tracer gives to what is outside the network, and to the network's first layer.
NOT_QUANTISED = (r"aten::.*", r"__module\.descriptor.*", r"__module\.novelty.*", r"__module\.net\.stem.*")


class ArtefactError(OperatorError):
    """An int8 artefact that is missing, damaged or derived from something else; says how to rebuild it."""


@dataclass(frozen=True, slots=True)
class ArtefactManifest:
    """What an artefact was made of."""

    format: int
    weights: str  # SHA-256 of the weights file, hex
    calibration: str  # SHA-256 that names the calibration slices
    slices: int
    openvino: str
    nncf: str
    files: dict[str, str]  # name to SHA-256


def folder_of(info: WeightsInfo, artefacts: Path | None) -> Path:
    """Where the artefact of these weights lies: in ``artefacts``, or beside the weights when None."""
    return (artefacts or info.path.parent) / f"{info.path.stem}-{info.digest[:16]}.int8"


def quantise(
    weights: Path | None, x_NCHW: NDArray[np.float32], calibration: str, artefacts: Path | None = None
) -> Path:
    """Derive the artefact from a weights file (the shipped one when None); returns its folder.

    ``calibration`` is the digest that names the slices. Raises ArtefactError without NNCF, and for too few
    slices.
    """
    if len(x_NCHW) < LEAST_SLICES:
        raise ArtefactError(f"{len(x_NCHW)} slices calibrate nothing: give at least {LEAST_SLICES}")
    segmenter, info = checkpoint.load(weights)
    last_joint = rf"__module\.net\.decoder\.{len(info.model.channels) - 2}\.merge.*"
    model = quantised(to_openvino(segmenter.frozen()), x_NCHW, (*NOT_QUANTISED, last_joint))
    folder = folder_of(info, artefacts)
    make_directory(folder.parent)
    with whole_directory(folder) as made:
        unreported("openvino").save_model(model, made / MODEL[0], compress_to_fp16=False)
        files = {name: hashlib.sha256((made / name).read_bytes()).hexdigest() for name in MODEL}
        manifest = ArtefactManifest(
            FORMAT, info.digest, calibration, len(x_NCHW), version("openvino"), version("nncf"), files
        )
        write_whole(made / MANIFEST, json.dumps(asdict(manifest), indent=2).encode() + b"\n")
        shutil.rmtree(folder, ignore_errors=True)  # of other versions; a crash here leaves none, to be made
    return folder


def quantised(model: Any, x_NCHW: NDArray[np.float32], ignored: tuple[str, ...] = ()) -> Any:
    """An ``openvino.Model`` quantised on these slices but for the nodes whose names match ``ignored``."""
    nncf = _nncf()
    with redirect_stdout(io.StringIO()):  # progress bars, where a command promises a document
        return nncf.quantize(
            model,
            nncf.Dataset([x_NCHW[i : i + 1] for i in range(len(x_NCHW))]),
            subset_size=len(x_NCHW),
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            ignored_scope=nncf.IgnoredScope(patterns=list(ignored)),
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
        )


def read(info: WeightsInfo, artefacts: Path | None) -> tuple[Any, ArtefactManifest]:
    """The ``openvino.Model`` derived from these weights, and its manifest. Raises ArtefactError."""
    folder = folder_of(info, artefacts)
    manifest = _manifest(folder)
    wanted = (FORMAT, info.digest, version("openvino"))
    if (manifest.format, manifest.weights, manifest.openvino) != wanted:
        raise _stale(folder, "derives from other weights or another OpenVINO")
    try:
        held = {name: (folder / name).read_bytes() for name in MODEL}
    except OSError:
        raise _stale(folder, "is not whole") from None
    if {name: hashlib.sha256(data).hexdigest() for name, data in held.items()} != manifest.files:
        raise _stale(folder, "is damaged")
    return unreported("openvino").Core().read_model(*(held[name] for name in MODEL)), manifest


def _manifest(folder: Path) -> ArtefactManifest:
    try:
        return ArtefactManifest(**json.loads((folder / MANIFEST).read_text()))
    except FileNotFoundError:
        raise _stale(folder, "does not exist") from None
    except (OSError, ValueError, TypeError):
        raise _stale(folder, "is damaged") from None


def _stale(folder: Path, what: str) -> ArtefactError:
    return ArtefactError(
        f"the int8 model {folder} {what}: make it with 'medsecure quantise', "
        "or choose segment.runtime openvino"
    )


def _nncf() -> Any:
    """The module, or the sentence that says how to get it."""
    try:
        version("nncf")
    except PackageNotFoundError:
        raise ArtefactError("quantisation needs NNCF: install medsecure-u[int8]") from None
    nncf = unreported("nncf")
    nncf.set_log_level(logging.ERROR)
    return nncf
