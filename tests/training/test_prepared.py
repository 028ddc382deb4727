from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from evaluation.pairs import find_pairs
from stages.preprocess.options import PreprocessOptions
from training import prepared as module
from training.dataset import read_labelled
from training.prepared import prepared

RECIPE = PreprocessOptions(size=32, spacing_mm=2.0)


def test_kept_cases_are_the_prepared_ones(
    cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time nothing is prepared, and slices, reference and digests are the same."""
    pairs = find_pairs(cases)
    wanted = list(read_labelled(pairs, RECIPE))
    list(prepared(pairs, RECIPE, tmp_path / "kept"))
    monkeypatch.setattr(module, "read_labelled", None)
    found = list(prepared(pairs, RECIPE, tmp_path / "kept"))
    for one, other in zip(wanted, found, strict=True):
        assert (one.name, one.files) == (other.name, other.files)
        assert torch.equal(one.x_NCHW, other.x_NCHW)
        assert torch.equal(one.truth_N1HW, other.truth_N1HW)
        assert one.truth_N1HW.dtype == other.truth_N1HW.dtype


def test_other_files_recipe_or_code_are_prepared_anew(
    cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing stale is learned from."""
    kept, pairs = tmp_path / "kept", find_pairs(cases)
    list(prepared(pairs, RECIPE, kept))
    assert len(list(kept.iterdir())) == 2
    shutil.copy(cases / "CaseA_segmentation.nii.gz", cases / "CaseB_segmentation.nii.gz")
    list(prepared(pairs, RECIPE, kept))
    assert len(list(kept.iterdir())) == 3
    list(prepared(pairs, PreprocessOptions(size=48, spacing_mm=2.0), kept))
    assert len(list(kept.iterdir())) == 5
    monkeypatch.setattr(module, "CODE", ("stages/preprocess",))
    list(prepared(pairs, RECIPE, kept))
    assert len(list(kept.iterdir())) == 7


def test_damaged_file_is_made_again(cases: Path, tmp_path: Path) -> None:
    """A cache may be cut short by anything."""
    kept, pairs = tmp_path / "kept", find_pairs(cases)
    (first, _) = prepared(pairs, RECIPE, kept)
    for path in kept.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    (again, _) = prepared(pairs, RECIPE, kept)
    assert torch.equal(first.x_NCHW, again.x_NCHW)
