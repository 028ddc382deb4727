"""The committed splits on the real folders where they are, and the rules on a toy folder everywhere."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.errors import OperatorError
from training.splits import SPLITS, Splits, SplitsError, read_splits

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
ENDS = {f"NCI_Case{number}" for number in (12, 22, 24, 26, 27)}  # whose gland touches an end
on_data = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason="the labelled cases are not redistributable"),
]
HEAD = 'folder = "a"\nlabels = "expert"\nlicence = "free"\nworth = "good"\n'
TOY = f"""[[sets]]
{HEAD}folds = [["CaseA", "CaseB"], ["CaseC"]]
held_out = ["CaseD"]
"""

Toy = Callable[[str], Splits]


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    """Reads the text of a splits file."""

    def read(text: str) -> Splits:
        path = tmp_path / "splits.toml"
        path.write_text(text)
        return read_splits(path)

    return read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four patients on disk, by name alone."""
    (tmp_path / "a").mkdir()
    for name in ("CaseA", "CaseB", "CaseC", "CaseD"):
        for suffix in ("", "_segmentation"):
            (tmp_path / "a" / f"{name}{suffix}.nii.gz").touch()
    return tmp_path


def names(pairs: Any) -> list[str]:
    return [pair.name for pair in pairs]


def test_patients_are_found_by_their_side(toy: Toy, folder: Path) -> None:
    """A fold's model learns from the other folds, a final one from all, none from what is held out."""
    splits = toy(TOY)
    splits.check(folder)
    assert splits.folds == 2
    assert names(splits.learned(folder, without=0)) == ["CaseC"]
    assert names(splits.learned(folder, without=None)) == ["CaseA", "CaseB", "CaseC"]
    assert names(splits.out_of_fold(folder, 0)) == ["CaseA", "CaseB"]
    assert {at: names(pairs) for at, pairs in splits.held_out(folder).items()} == {"a": ["CaseD"]}


def test_patient_missing_on_disk_is_named(toy: Toy, folder: Path) -> None:
    """A split of patients that are not there would be another split."""
    for path in (folder / "a").glob("CaseC*"):
        path.unlink()
    with pytest.raises(SplitsError, match=r"a lacks CaseC, which the splits name"):
        toy(TOY).check(folder)


def test_patient_that_no_split_names_is_an_error(toy: Toy, folder: Path) -> None:
    """A new patient is placed before any training."""
    for suffix in ("", "_segmentation"):
        (folder / "a" / f"CaseE{suffix}.nii.gz").touch()
    with pytest.raises(SplitsError, match="the splits do not name CaseE of"):
        toy(TOY).check(folder)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TOY.replace('["CaseD"]', '["CaseA"]'), "CaseA: named more than once"),
        ('together = [["CaseA", "CaseC"]]\n' + TOY, "CaseA, CaseC: must be on one side"),
        ('together = [["CaseX", "CaseY"]]\n' + TOY, "CaseX, CaseY: must be on one side"),
        ('soft_labels = ["CaseA", "CaseD"]\n' + TOY, "CaseD: labels are softened only"),
        (TOY.replace('"expert"', '"AI"'), "labels made by an AI are not used"),
        (TOY + f'[[sets]]\n{HEAD}folds = [["CaseE"]]\n', "the same number of folds"),
        (TOY + "colour = 1\n", "colour"),
        ("sets = 1\n[[", "cannot be read as TOML"),
    ],
)
def test_contradiction_is_refused(toy: Toy, text: str, reason: str) -> None:
    """The sentence names the patients or the rule."""
    with pytest.raises(OperatorError, match=reason):
        toy(text)


def test_committed_splits_keep_what_was_decided() -> None:
    """The held-out patients, the two of prostate3t together, AI labels apart, soft labels learned."""
    splits = read_splits(SPLITS)
    sides = {name: side for one in splits.sets for side, many in one.sides.items() for name in many}
    held = {name for name, side in sides.items() if side == "held_out"}
    assert {name for name in held if name.startswith("Case")} == {f"Case{n}" for n in (12, 15, 20, 36, 42)}
    isbi = {name for name in held if name.startswith("NCI")}
    assert len(isbi) == 6
    assert "NCI_Case38" in isbi
    assert len(isbi & ENDS) == 2
    assert sides["NCI_Case34"] == sides["NCI_Case35"]
    assert [one.folder for one in splits.sets if one.labels == "AI"] == ["prostatex"]
    assert sum(side == "uncommitted" for side in sides.values()) == 6
    assert splits.folds == 3
    promise = next(one for one in splits.sets if one.folder == "promise12/train")
    assert set(splits.soft_labels) <= {name for fold in promise.folds for name in fold}


class TestOnTheFolders:
    pytestmark = on_data

    def test_every_patient_on_disk_is_placed(self) -> None:
        """The file and the folders name the same patients: 49 learned, 12 held out."""
        splits = read_splits()
        splits.check(DATA)
        assert [len(splits.out_of_fold(DATA, fold)) for fold in range(3)] == [16, 16, 17]
        assert len(splits.learned(DATA, without=None)) == 49
        assert {at: len(pairs) for at, pairs in splits.held_out(DATA).items()} == {
            "promise12/val": 5,
            "nci-isbi": 6,
            "prostatex": 1,
        }

    def test_parts_are_alike_in_gland_volume(self) -> None:
        """No part's median is further than a sixth from the median of all."""
        volume_ml: dict[str, float] = {}
        for at in ("promise12", "nci-isbi"):
            with (DATA / at / "cases.csv").open() as lines:
                for row in csv.DictReader(lines):
                    volume_ml[row.get("case") or row["name"]] = float(row.get("gland_ml") or row["volume_ml"])
        splits = read_splits()
        overall = statistics.median(volume_ml[name] for name in names(splits.learned(DATA, without=None)))
        for fold in range(3):
            here = statistics.median(volume_ml[name] for name in names(splits.out_of_fold(DATA, fold)))
            assert abs(here / overall - 1) < 1 / 6
