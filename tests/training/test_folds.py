from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evaluation.pairs import CaseError
from stages.errors import OperatorError
from stages.preprocess.options import PreprocessOptions
from stages.segment import checkpoint
from stages.segment.options import ModelConfig
from training.folds import assign, crossvalidate
from training.options import TrainOptions
from training.train import Progress

OPTIONS = TrainOptions(epochs=2, batch=6, model=ModelConfig(channels=(8, 16), blocks=(1, 1), feature_dim=16))
RECIPE = PreprocessOptions(size=32, spacing_mm=2.0)


class KilledError(Exception):
    """Stands for the end of the process."""


def run(
    data: Sequence[Path],
    out: Path,
    *,
    folds: int = 2,
    resume: bool = False,
    die_in: tuple[int, int] = (-1, 0),
) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """The document, and which epochs of which folds were trained."""
    trained: list[tuple[int, int]] = []

    def progress(fold: int, one: Progress) -> None:
        trained.append((fold, one.epoch))
        if trained[-1] == die_in:
            raise KilledError

    found = crossvalidate(
        data, out, OPTIONS, folds, resume=resume, progress=progress, preprocess=RECIPE, device="cpu"
    )
    return found, trained


@pytest.fixture
def two_folders(cases: Path, tmp_path: Path) -> list[Path]:
    """Four patients in two folders."""
    other = tmp_path / "other"
    other.mkdir()
    for path in cases.iterdir():
        shutil.copy(path, other / path.name.replace("Case", "Other"))
    return [cases, other]


@given(count=st.integers(2, 60), folds=st.integers(2, 10), seed=st.integers(0, 5))
def test_folds_part_the_patients_evenly(count: int, folds: int, seed: int) -> None:
    """Every patient is in one fold, sizes differ by one at most, the order of names does not matter."""
    names = [f"Case{i:02d}" for i in range(count)]
    found = assign(names, folds, seed)
    sizes = [list(found.values()).count(fold) for fold in range(folds)]
    assert sorted(found) == names
    assert max(sizes) - min(sizes) <= 1
    assert found == assign(names[::-1], folds, seed)


@pytest.mark.slow
def test_every_patient_is_measured_by_a_model_that_never_saw_it(
    two_folders: list[Path], tmp_path: Path
) -> None:
    """Four out-of-fold scores; each fold's weights were trained on the other fold's patients alone."""
    found, _ = run(two_folders, tmp_path / "cv")
    fold_of = assign([case["name"] for case in found["cases"]], 2, OPTIONS.seed)
    assert {case["name"]: case["fold"] for case in found["cases"]} == fold_of
    for fold in range(2):
        info = checkpoint.describe(tmp_path / "cv" / f"fold-{fold}.safetensors")
        assert info.training["cases"] == 2
        assert {case["name"] for case in info.metrics["cases"]} == {
            n for n, f in fold_of.items() if f == fold
        }
    assert found["mean"]["dice_volume"] == pytest.approx(
        sum(case["dice_volume"] for case in found["cases"]) / 4
    )


@pytest.mark.slow
def test_killed_run_goes_on_where_it_was(
    two_folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finished fold is kept, the broken one goes on, and the scores are those of an unbroken run."""
    monkeypatch.setattr("training.train.SAVE_S", 0.0)
    whole, _ = run(two_folders, tmp_path / "whole")
    with pytest.raises(KilledError):
        run(two_folders, tmp_path / "cut", die_in=(1, 1))
    resumed, trained = run(two_folders, tmp_path / "cut", resume=True)
    assert trained == [(1, 2)]
    assert resumed == whole
    one, other = (
        checkpoint.load(tmp_path / n / "fold-1.safetensors")[0].state_dict() for n in ("whole", "cut")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "other"),
    [("OPTIONS", replace(OPTIONS, learning_rate=0.1)), ("RECIPE", replace(RECIPE, zscore=False))],
    ids=["options", "preprocessing"],
)
def test_folds_of_another_recipe_are_not_kept(
    two_folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, other: object
) -> None:
    """A mixture of two recipes would be no measurement."""
    run(two_folders, tmp_path / "cv")
    monkeypatch.setattr(f"{__name__}.{name}", other)
    with pytest.raises(OperatorError, match="other data or options"):
        run(two_folders, tmp_path / "cv", resume=True)


@pytest.mark.slow
def test_folds_are_kept_whatever_decides_nothing(
    two_folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another number of threads is the same recipe."""
    run(two_folders, tmp_path / "cv")
    monkeypatch.setattr(f"{__name__}.OPTIONS", replace(OPTIONS, threads=2))
    assert run(two_folders, tmp_path / "cv", resume=True)[1] == []


def test_one_name_in_two_folders_is_an_error(cases: Path, tmp_path: Path) -> None:
    """One patient on both sides of a fold would flatter the model."""
    shutil.copytree(cases, tmp_path / "copy")
    with pytest.raises(CaseError, match="have one name"):
        run([cases, tmp_path / "copy"], tmp_path / "cv")


def test_more_folds_than_patients_are_an_error(cases: Path, tmp_path: Path) -> None:
    """A fold without a patient measures nothing."""
    with pytest.raises(CaseError, match="2 patients cannot be parted into 3 folds"):
        run([cases], tmp_path / "cv", folds=3)
