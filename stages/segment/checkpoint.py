"""The weights file: safetensors with a JSON description, nothing executable in it.

The network is stored in half precision (its Dice is that of the stored values: figures in the
description are read back from the file), as are the rows that novelty compares with, where there are any;
the feature projection is in single precision. The description
says which model it is, which preprocessing it expects, and what it reached on validation cases.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised

from stages.errors import OperatorError
from stages.files import make_directory, write_whole
from stages.preprocess.options import PreprocessOptions
from stages.segment.features import Segmenter
from stages.segment.options import ModelConfig

SHIPPED = Path(__file__).parent / "weights" / "prostate.safetensors"
FORMAT = 2  # 2: the decoder has no residual blocks
_KEY = "medsecure"
_ROWS = "novelty.rows_MC"  # their number is the file's


class WeightsError(OperatorError):
    """A weights file that is missing, foreign or damaged; one sentence that names it."""


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """What a weights file says about itself."""

    path: Path
    digest: str  # SHA-256 of the file, hex
    model: ModelConfig
    recipe: PreprocessOptions  # the preprocessing the weights were trained behind
    training: dict[str, Any]  # options, data digest, seconds, as JSON
    metrics: dict[str, Any]  # validation, in the form of ``evaluate --json``; empty without validation

    @property
    def feature_dim(self) -> int:
        """D, the length of the feature vectors."""
        return self.model.feature_dim

    def refuse_other_recipe(self, recipe: PreprocessOptions) -> None:
        """Raise WeightsError for slices prepared otherwise than those of the training."""
        wanted, given = asdict(self.recipe), asdict(recipe)
        for name in wanted:
            if wanted[name] != given[name]:
                raise WeightsError(
                    f"{self.path} was trained on slices prepared with preprocess.{name} {wanted[name]}, the "
                    f"configuration says {given[name]}: use its recipe or other weights"
                )


def refuse_other_suffix(path: Path) -> None:
    """Raise WeightsError for a name that the files written beside the weights could have too."""
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path} must be named .safetensors: state, model card and curves lie beside it")


def save(
    segmenter: Segmenter,
    path: Path,
    recipe: PreprocessOptions,
    training: dict[str, Any],
    metrics: dict[str, Any],
) -> None:
    """Write the weights; the file appears whole or not at all."""
    described = {
        "format": FORMAT,
        "model": asdict(segmenter.net.config),
        "recipe": TypeAdapter(PreprocessOptions).dump_python(recipe, mode="json"),
        "training": training,
        "metrics": metrics,
    }
    tensors = {
        name: (value.half() if name.startswith("net.") or name == _ROWS else value.float()).contiguous()
        for name, value in segmenter.state_dict().items()
        if name in _stored(segmenter)
    }
    make_directory(path.parent)
    write_whole(path, serialised(tensors, {_KEY: json.dumps(described, sort_keys=True)}))


def describe(path: Path | None = None) -> WeightsInfo:
    """What the file (the shipped one when None) says about itself. Raises WeightsError."""
    path = SHIPPED if path is None else path
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"the weights file {path} cannot be read as safetensors: {error}") from error
    if text is None:
        raise WeightsError(f"{path} holds no medsecure model; make one with 'medsecure train'")
    try:
        described = json.loads(text)
        if described["format"] != FORMAT:
            raise WeightsError(
                f"{path} has weights format {described['format']}, this version reads {FORMAT}: train again"
            )
        model = TypeAdapter(ModelConfig).validate_python(described["model"])
        recipe = TypeAdapter(PreprocessOptions).validate_python(described["recipe"])
        return WeightsInfo(path, digest, model, recipe, described["training"], described["metrics"])
    except (KeyError, TypeError, json.JSONDecodeError, ValidationError) as error:
        raise WeightsError(f"the description inside {path} is not one of this version: {error}") from error


def load(path: Path | None = None) -> tuple[Segmenter, WeightsInfo]:
    """The model in evaluation mode, single precision, on the CPU. Raises WeightsError."""
    info = describe(path)
    with safe_open(info.path, framework="pt") as file:
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118  # not a dict
    segmenter = Segmenter(info.model, len(tensors.get(_ROWS, ())))
    wanted = _stored(segmenter)
    if set(tensors) != wanted:
        odd = ", ".join(sorted(wanted ^ set(tensors))[:3])
        raise WeightsError(f"the tensors in {info.path} are not those of its description: {odd}")
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise WeightsError(f"{info.path} holds values that are not finite; train it again")
    try:
        segmenter.load_state_dict(tensors, strict=False)
    except RuntimeError as error:  # torch's only signal for a shape that differs
        raise WeightsError(f"the tensors in {info.path} are not those of its description: {error}") from error
    return segmenter.eval(), info


def _stored(segmenter: Segmenter) -> set[str]:
    """Names of the tensors in a file: without counters, and without novelty where it is not fitted."""
    return {
        name
        for name in segmenter.state_dict()
        if not name.endswith("num_batches_tracked")
        and (segmenter.novelty.fitted or not name.startswith("novelty."))
    }
