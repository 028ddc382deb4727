from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.pairs import CaseError
from stages.preprocess.options import PreprocessOptions
from stages.segment import checkpoint, int8
from stages.segment.features import Segmenter
from stages.segment.options import ModelConfig
from training import calibrate
from training.calibrate import SLICES, phantom_slices, quantise

RECIPE = PreprocessOptions(size=32, spacing_mm=2.0)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """An untrained model."""
    torch.manual_seed(0)
    segmenter = Segmenter(ModelConfig(channels=(8, 16), blocks=(1, 1), feature_dim=16)).eval()
    path = tmp_path / "tiny.safetensors"
    checkpoint.save(segmenter, path, RECIPE, {}, {})
    return path


@pytest.mark.slow
def test_phantom_calibrates_without_any_data(weights: Path, tmp_path: Path) -> None:
    """The artefact is made in the folder asked for, and the report says that it agrees."""
    made = quantise(weights, None, tmp_path / "cache")
    assert made.folder.parent == tmp_path / "cache"
    assert made.slices == SLICES
    assert made.mask_dice > 0.9
    assert made.feature_cosine > 0.99
    model, manifest = int8.read(checkpoint.describe(weights), tmp_path / "cache")
    assert manifest.calibration == made.calibration
    assert any(op.get_type_name() == "FakeQuantize" for op in model.get_ops())


def test_calibration_is_the_same_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices and digest depend on the recipe alone."""
    monkeypatch.setattr(calibrate, "SLICES", 12)
    (one, digest), (two, again) = phantom_slices(RECIPE), phantom_slices(RECIPE)
    np.testing.assert_array_equal(one, two)
    assert digest == again
    assert phantom_slices(PreprocessOptions(size=32))[1] != digest


def test_folder_without_cases_is_an_error(weights: Path, tmp_path: Path) -> None:
    """Nothing is quantised on nothing."""
    with pytest.raises(CaseError, match="nowhere"):
        quantise(weights, tmp_path / "nowhere", None)
