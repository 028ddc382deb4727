"""The commands that measure, train and derive models."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from stages.segment import checkpoint
from tests.pipeline.cli.conftest import Medsecure

TINY = """
[train]
epochs = 2
batch = 6
validation_epochs = 1
[train.model]
channels = [8, 16]
blocks = [1, 1]
feature_dim = 16
[preprocess]
size = 32
spacing_mm = 2.0
"""


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Three patients whose gland is a bright box."""
    folder = tmp_path / "cases"
    folder.mkdir()
    rng = np.random.default_rng(0)
    truth = np.zeros((40, 36, 5), np.uint8)
    truth[14:26, 12:24, 1:4] = 1
    for name in ("A", "B", "C"):
        image = rng.normal(400, 30, truth.shape) + 400.0 * truth
        affine = np.diag([1.5, 1.5, 3.0, 1.0])
        nibabel.Nifti1Image(image.astype(np.int16), affine).to_filename(folder / f"{name}.nii.gz")
        nibabel.Nifti1Image(truth, affine).to_filename(folder / f"{name}_segmentation.nii.gz")
    (tmp_path / "tiny.toml").write_text(TINY)
    return folder


@pytest.mark.slow
def test_train_then_evaluate_then_show(cases: Path, medsecure: Medsecure, tmp_path: Path) -> None:
    """Weights, card and curves lie side by side; the page has the figures that the document has."""
    out, page = tmp_path / "w.safetensors", tmp_path / "worst.html"
    config = ["--config", tmp_path / "tiny.toml"]
    done = medsecure("train", "--data", cases, "--out", out, *config, "--json")
    assert done.json["epochs"] == 2
    assert checkpoint.describe(out).digest in out.with_suffix(".md").read_text()
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    base = ["evaluate", "--source", cases, "--weights", out, *config]
    found = medsecure(*base, "--html", page, "--json").json
    assert [case["name"] for case in found["cases"]] == ["A", "B", "C"]
    low, high = found["interval_95"]["dice_volume"]
    assert low <= found["mean"]["dice_volume"] <= high
    assert f"<b>{found['mean']['dice_volume']:.3f}</b>" in page.read_text()
    done = medsecure(*base, "--html", tmp_path / "nowhere" / "x.html", expect=2)
    assert "does not exist: make it" in done.err


@pytest.mark.slow
def test_crossvalidate_then_compare(cases: Path, medsecure: Medsecure, tmp_path: Path) -> None:
    """Two recipes on the same folds; the comparison is paired, and of a model with itself it is nothing."""
    for seed in ("first", "second"):
        rate = 0.001 if seed == "first" else 0.01
        (tmp_path / f"{seed}.toml").write_text(
            TINY.replace("batch = 6", f"batch = 6\nlearning_rate = {rate}")
        )
        config = ["--config", tmp_path / f"{seed}.toml"]
        options = ["--out", tmp_path / seed, "--folds", 3, *config, "--json"]
        done = medsecure("crossvalidate", "--data", cases, *options)
        assert json.loads((tmp_path / seed / "scores.json").read_text()) == done.json
    first, second = (tmp_path / seed / "scores.json" for seed in ("first", "second"))
    found = medsecure("compare", first, second, "--json").json["dice_volume"]
    one, other = (json.loads(path.read_text())["mean"]["dice_volume"] for path in (first, second))
    assert found["patients"] == 3
    assert found["mean"] == pytest.approx(other - one)
    assert medsecure("compare", first, first, "--json").json["dice_volume"]["p_value"] == 1
    assert "p (Wilcoxon)" in medsecure("compare", first, second).out
    assert "does not hold scores" in medsecure("compare", first, tmp_path / "tiny.toml", expect=2).err


@pytest.mark.slow
def test_quantise_then_run_int8(cases: Path, medsecure: Medsecure, tmp_path: Path) -> None:
    """The artefact lies beside the weights, and evaluation takes it."""
    out = tmp_path / "w.safetensors"
    config = ["--config", tmp_path / "tiny.toml"]
    medsecure("train", "--data", cases, "--out", out, *config)
    made = medsecure("quantise", "--weights", out, "--json").json
    assert Path(made["folder"]).parent == tmp_path
    assert made["feature_cosine"] > 0.98
    (tmp_path / "int8.toml").write_text(TINY + '[segment]\nruntime = "openvino-int8"\n')
    options = ["--weights", out, "--config", tmp_path / "int8.toml", "--json"]
    assert len(medsecure("evaluate", "--source", cases, *options).json["cases"]) == 3
    (Path(made["folder"]) / "model.bin").write_bytes(b"")
    done = medsecure("evaluate", "--source", cases, *options, expect=2)
    assert "medsecure quantise" in done.err
