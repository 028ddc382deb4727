from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.segment import checkpoint
from stages.segment.checkpoint import WeightsError
from stages.segment.features import Segmenter


def test_what_is_saved_is_described_and_loaded(tiny: Segmenter, tiny_weights: Path) -> None:
    """The file says which model it is and behind which preprocessing; the loaded model answers the same."""
    loaded, info = checkpoint.load(tiny_weights)
    assert info.model == tiny.net.config
    assert info.feature_dim == 16
    assert (info.recipe.size, info.recipe.spacing_mm) == (32, 2.0)
    assert info.training == {"seed": 0}
    assert len(info.digest) == 64
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(x)[0], tiny(x)[0], atol=5e-3, rtol=0)  # stored in half precision


def test_loading_twice_gives_the_same_bits(tiny_weights: Path, tmp_path: Path) -> None:
    """Saving a loaded model changes nothing: half precision was reached the first time."""
    loaded, info = checkpoint.load(tiny_weights)
    again = tmp_path / "again.safetensors"
    checkpoint.save(loaded, again, info.recipe, info.training, info.metrics)
    assert checkpoint.describe(again).digest == info.digest


def test_missing_file_is_named(tmp_path: Path) -> None:
    """One sentence that names the file."""
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors"):
        checkpoint.load(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 64])
def test_foreign_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    """Anything that is not safetensors is a WeightsError."""
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"foreign\.safetensors"):
        checkpoint.load(path)


def test_truncated_file_is_refused(tiny_weights: Path) -> None:
    """A file cut short never loads."""
    tiny_weights.write_bytes(tiny_weights.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="cannot be read"):
        checkpoint.load(tiny_weights)


def test_other_peoples_safetensors_are_refused(tmp_path: Path) -> None:
    """Without our description there is no model."""
    path = tmp_path / "other.safetensors"
    save_file({"w": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match="holds no medsecure model"):
        checkpoint.load(path)


def test_description_of_another_version_is_refused(tiny_weights: Path) -> None:
    """An unknown format number names both versions."""
    rewrite(tiny_weights, format=99)
    with pytest.raises(WeightsError, match="format 99"):
        checkpoint.describe(tiny_weights)


def test_description_that_does_not_fit_the_tensors_is_refused(tiny_weights: Path) -> None:
    """A model of another width does not load these tensors."""
    rewrite(tiny_weights, model={"channels": [8, 24], "blocks": [1, 1], "feature_dim": 16})
    with pytest.raises(WeightsError, match="not those of its description"):
        checkpoint.load(tiny_weights)


def test_broken_description_is_refused(tiny_weights: Path) -> None:
    """A recipe option that does not exist is an error, not ignored."""
    rewrite(tiny_weights, recipe={"no_such_step": True})
    with pytest.raises(WeightsError, match="description"):
        checkpoint.describe(tiny_weights)


def test_values_that_are_not_finite_are_refused(tiny_weights: Path) -> None:
    """Weights that diverged never reach a patient."""
    tensors = load_file(tiny_weights)
    text = metadata(tiny_weights)
    tensors["net.head.bias"][0] = torch.nan
    save_file(tensors, tiny_weights, text)
    with pytest.raises(WeightsError, match="not finite"):
        checkpoint.load(tiny_weights)


def metadata(path: Path) -> dict[str, str]:
    """The description as stored."""
    with checkpoint.safe_open(path, framework="pt") as file:
        return dict(file.metadata())


def rewrite(path: Path, **changes: object) -> None:
    """Change the description, keep the tensors."""
    described = json.loads(metadata(path)["medsecure"]) | changes
    save_file(load_file(path), path, {"medsecure": json.dumps(described)})
