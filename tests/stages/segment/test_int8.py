from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.packed import Packed
from stages.segment import checkpoint, int8, runtime
from stages.segment.int8 import ArtefactError

X = np.random.default_rng(0).normal(size=(int8.LEAST_SLICES, 3, 32, 32)).astype(np.float32)
PACKED = Packed.of(X)
ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that keeps the artefact of the tiny model between tests."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def artefact(tiny_weights: Path, made: Path) -> Path:
    """The tiny model's artefact beside its weights, quantised once: the weights are the same every time."""
    folder = int8.folder_of(checkpoint.describe(tiny_weights), None)
    if not (made / folder.name).exists():
        int8.quantise(tiny_weights, X, "c" * 64, made)
    shutil.copytree(made / folder.name, folder)
    return folder


def agrees(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Unit vectors that point the same way, and are unit vectors."""
    return bool((np.linalg.norm(one, axis=1) > 0.999).all() and ((one * other).sum(1) > 0.98).all())


def test_int8_agrees_with_single_precision(tiny_weights: Path, artefact: Path) -> None:
    """Probabilities are close, features stay unit vectors of nearly the same direction."""
    assert (artefact / "model.bin").stat().st_size > 0
    exact_p, exact_f, _ = runtime.load(tiny_weights, "cpu", 1, "openvino")(PACKED)
    narrow_p, narrow_f, _ = runtime.load(tiny_weights, "cpu", 1, "openvino-int8")(PACKED)
    assert 0 < np.abs(narrow_p - exact_p).mean() < 0.02
    assert agrees(narrow_f, exact_f)


@pytest.mark.usefixtures("artefact")
def test_first_and_last_joint_stay_exact(tiny_weights: Path) -> None:
    """Of the convolutions over a field, theirs alone have plain numbers as weights, not bytes and scales."""
    model, _ = int8.read(checkpoint.describe(tiny_weights), None)
    convolutions = [op for op in model.get_ordered_ops() if op.get_type_name() == "Convolution"]
    names = {op.get_friendly_name(): op.input_value(1).get_node().get_type_name() for op in convolutions}
    exact = {name for name, weight in names.items() if weight == "Constant" and "attend" not in name}
    assert exact == {name for name in names if "net.stem" in name or "decoder.0.merge" in name}
    assert len(exact) == 2


def test_auto_takes_the_artefact_where_it_lies(tiny_weights: Path, artefact: Path) -> None:
    """With it the answer is int8's, without it or with a damaged one single precision's."""
    narrow = runtime.load(tiny_weights, "cpu", 1, "openvino-int8")(PACKED)[0]
    np.testing.assert_array_equal(runtime.load(tiny_weights, "cpu", 1)(PACKED)[0], narrow)
    exact = runtime.load(tiny_weights, "cpu", 1, "openvino")(PACKED)[0]
    (artefact / "model.bin").write_bytes(b"damaged")
    np.testing.assert_array_equal(runtime.load(tiny_weights, "cpu", 1)(PACKED)[0], exact)


def test_artefact_in_a_folder_of_its_own(tiny_weights: Path, artefact: Path, tmp_path: Path) -> None:
    """The configured folder counts, and only that."""
    shutil.move(artefact, tmp_path / "cache" / artefact.name)
    with pytest.raises(ArtefactError, match="does not exist"):
        runtime.load(tiny_weights, "cpu", 1, "openvino-int8")
    runtime.load(tiny_weights, "cpu", 1, "openvino-int8", tmp_path / "cache")


@pytest.mark.parametrize("name", [*int8.MODEL, int8.MANIFEST])
@pytest.mark.parametrize("how", ["changed", "gone"])
def test_damage_is_refused(tiny_weights: Path, artefact: Path, name: str, how: str) -> None:
    """Whatever file is changed or gone, the sentence says how to make the artefact again."""
    if how == "gone":
        (artefact / name).unlink()
    else:
        (artefact / name).write_bytes((artefact / name).read_bytes()[:-20])
    with pytest.raises(ArtefactError, match="medsecure quantise"):
        runtime.load(tiny_weights, "cpu", 1, "openvino-int8")


@pytest.mark.parametrize("field", ["weights", "openvino", "format"])
def test_stale_artefact_is_refused(tiny_weights: Path, artefact: Path, field: str) -> None:
    """One derived from other weights, or by another version, is not run."""
    manifest = json.loads((artefact / int8.MANIFEST).read_text())
    manifest[field] = 99 if field == "format" else "0"
    (artefact / int8.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match="derives from other weights or another OpenVINO"):
        runtime.load(tiny_weights, "cpu", 1, "openvino-int8")


def test_other_weights_have_another_artefact(tiny_weights: Path, artefact: Path) -> None:
    """Retrained weights never find the artefact of the weights before them."""
    segmenter, info = checkpoint.load(tiny_weights)
    checkpoint.save(segmenter, tiny_weights, info.recipe, {"seed": 1}, {})
    assert artefact.is_dir()
    with pytest.raises(ArtefactError, match="does not exist"):
        runtime.load(tiny_weights, "cpu", 1, "openvino-int8")


def test_too_few_slices_are_refused(tiny_weights: Path) -> None:
    """A handful says nothing about the range of an activation."""
    with pytest.raises(ArtefactError, match="3 slices"):
        int8.quantise(tiny_weights, X[:3], "c" * 64)


def test_quantising_reports_nothing_over_the_network(tiny_weights: Path) -> None:
    """NNCF is given no chance to open a connection; in a process without pytest, which it spares."""
    script = f"""
import socket
from pathlib import Path
import numpy as np
import openvino_telemetry
seen = []
def refuse(*_, **__):
    seen.append("a report")
    raise OSError("refused")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
for name in ("start_session", "send_event", "end_session", "send_error"):
    setattr(openvino_telemetry.Telemetry, name, refuse)
from stages.segment import int8
x = np.random.default_rng(0).normal(size=({int8.LEAST_SLICES}, 3, 32, 32)).astype(np.float32)
int8.quantise(Path({str(tiny_weights)!r}), x, "c" * 64)
raise SystemExit(len(seen))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
