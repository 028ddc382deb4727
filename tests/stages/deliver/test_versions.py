"""Versions: the fuller result stays, equal ones change no byte, stale files go."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydicom import Dataset, dcmread

from stages import files
from stages.deliver import stage as deliver_stage
from stages.deliver.options import DeliverOptions
from stages.places import StackId

if TYPE_CHECKING:
    from tests.stages.deliver.conftest import Clinic


def everything(folder: Path) -> dict[str, tuple[bytes, int]]:
    """All files below, with content and time of writing."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def document(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "measurements.json").read_text())
    return content


def test_the_same_delivery_again_touches_nothing(clinic: Clinic) -> None:
    """Not one file is written anew, the DICOM Segmentation included."""
    batch = clinic.batch(clinic.dicom(6), clinic.balls(6))
    first = clinic.deliver(batch)
    before = everything(clinic.of())
    again = clinic.deliver(batch)
    assert everything(clinic.of()) == before
    assert first == again
    assert clinic.measured()["version"] == 1


def test_a_fuller_delivery_replaces_the_earlier_one_whole(clinic: Clinic) -> None:
    """Late slices complete the series: version 2, and folders of stacks that are no more go."""
    places, masks = clinic.dicom(6), clinic.balls(6)
    early = [StackId(1, 2, 2)] * 2 + [StackId(2, 2, 2)] * 2
    clinic.deliver(clinic.batch(places[:4], masks[:4], stacks=early))
    assert {path.name for path in clinic.of().iterdir()} == {
        *("stack-1", "stack-2"),
        *("overlay.png", "measurements.json"),
    }
    clinic.deliver(clinic.batch(places, masks))
    assert {path.name for path in clinic.of().iterdir()} == {"seg.dcm", "overlay.png", "measurements.json"}
    assert (clinic.measured()["version"], clinic.measured()["slices"]) == (2, 6)


def test_other_masks_of_the_same_slices_are_a_new_version(clinic: Clinic) -> None:
    """Another model, say: it replaces the result and counts on."""
    places, masks = clinic.dicom(5), clinic.balls(5)
    clinic.deliver(clinic.batch(places, masks))
    clinic.deliver(clinic.batch(places, [1 - mask_HW for mask_HW in masks]))
    assert clinic.measured()["version"] == 2
    assert "fewer_slices" not in {one["flag"] for one in clinic.measured()["flags"]}


def test_a_delivery_with_fewer_slices_stands_beside_the_fuller_one(clinic: Clinic) -> None:
    """The fuller keeps every byte; the lesser is whole, says what it lacks, and is to be reviewed."""
    places, masks = clinic.dicom(8), clinic.balls(8)
    clinic.deliver(clinic.batch(places, masks, novelty=[0.5] * 8))
    before = everything(clinic.of())
    lesser = clinic.batch(places[:5], masks[:5], novelty=[0.5] * 5)
    split = clinic.deliver(lesser)
    beside = clinic.of() / "version-2"
    assert before.items() <= everything(clinic.of()).items()
    assert {path.name for path in beside.iterdir()} == {"seg.dcm", "overlay.png", "measurements.json"}
    content = document(beside)
    assert (content["version"], content["slices"], content["review"]) == (2, 5, True)
    (flag,) = [one for one in content["flags"] if one["flag"] == "fewer_slices"]
    assert (flag["slices"], flag["version"]) == (3, 1)
    assert split.kept.counters["series_to_review"] == 1
    assert split.kept.paths[0] == f"{clinic.of().name}/version-2/seg.dcm"
    lying = everything(clinic.of())
    assert clinic.deliver(lesser) == split
    assert everything(clinic.of()) == lying


def test_other_slices_in_equal_number_do_not_replace_either(clinic: Clinic) -> None:
    """What counts is whether one has all that the other has, not how many."""
    places, masks = clinic.dicom(6), clinic.balls(6)
    clinic.deliver(clinic.batch(places[:4], masks[:4]))
    clinic.deliver(clinic.batch(places[2:], masks[2:]))
    assert clinic.measured()["version"] == 1
    assert document(clinic.of() / "version-2")["slices"] == 4


def test_a_version_beside_goes_when_a_result_comes_that_covers_it(clinic: Clinic) -> None:
    """And one that is not covered stays; numbers are never used twice."""
    places, masks = clinic.dicom(9), clinic.balls(9)
    clinic.deliver(clinic.batch(places[:6], masks[:6]))
    clinic.deliver(clinic.batch(places[:3], masks[:3]))
    clinic.deliver(clinic.batch(places[5:], masks[5:]))
    assert {path.name for path in clinic.of().glob("version-*")} == {"version-2", "version-3"}
    clinic.deliver(clinic.batch(places[:8], masks[:8]))
    assert {path.name for path in clinic.of().glob("version-*")} == {"version-3"}
    assert clinic.measured()["version"] == 4
    assert document(clinic.of() / "version-3")["slices"] == 4
    clinic.deliver(clinic.batch(places, masks))
    assert not list(clinic.of().glob("version-*"))
    assert clinic.measured()["version"] == 5


def test_a_series_whose_source_is_gone_keeps_its_result(clinic: Clinic) -> None:
    """Its rows are rejects; what lies there is not touched."""
    places, masks = clinic.dicom(3), clinic.balls(3)
    batch = clinic.batch(places, masks)
    clinic.deliver(batch)
    before = everything(clinic.of())
    for place in places:
        Path(place.path).unlink()
    split = clinic.deliver(batch)
    assert len(split.rejected) == 3
    assert everything(clinic.of()) == before


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"masks": 7}', b'{"version": 1, "masks": [{"slices": [{}]}]}']
)
def test_a_folder_without_sound_measurements_is_replaced(clinic: Clinic, content: bytes) -> None:
    """It holds no result that anything could be compared with."""
    clinic.of().mkdir(parents=True)
    (clinic.of() / "measurements.json").write_bytes(content)
    (clinic.of() / "stale").touch()
    clinic.deliver(clinic.batch(clinic.dicom(3), clinic.balls(3)))
    assert not (clinic.of() / "stale").exists()
    assert clinic.measured()["version"] == 1


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("beside", [True, False])
def test_a_delivery_killed_while_it_is_written_changes_nothing(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, *, beside: bool
) -> None:
    """Its unfinished files lie apart, and the next delivery ends as if nothing had happened."""
    places, masks = clinic.dicom(6), clinic.balls(6)
    count = 4 if beside else 6
    clinic.deliver(clinic.batch(places[:5], masks[:5]))
    before = everything(clinic.of())

    def killed(*_: object) -> bytes:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(deliver_stage.measure, "document", killed)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Killed):
            clinic.deliver(clinic.batch(places[:count], masks[:count]))
    assert everything(clinic.of()) == before
    assert len(list((clinic.results / ".incoming").iterdir())) == 1
    clinic.deliver(clinic.batch(places[:count], masks[:count]))
    assert not list((clinic.results / ".incoming").iterdir())
    assert document(clinic.of() / "version-2" if beside else clinic.of())["version"] == 2


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("exchanged", [False, True])
def test_kill_9_between_two_deliveries_of_a_series_leaves_one_of_them_whole(
    clinic: Clinic, *, exchanged: bool
) -> None:
    """The process dies before the fuller result has its name, or before the other is removed."""
    places, masks = clinic.dicom(6), clinic.balls(6)
    part, whole = clinic.batch(places[:4], masks[:4]), clinic.batch(places, masks)

    def kill(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def deliver_both() -> None:
        clinic.deliver(part)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(*(shutil, "rmtree") if exchanged else (files, "_exchange"), kill)
            clinic.deliver(whole)

    process = multiprocessing.get_context("fork").Process(target=deliver_both)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    lies = (2, 6) if exchanged else (1, 4)
    assert (clinic.measured()["version"], clinic.measured()["slices"]) == lies
    assert len(dcmread(clinic.of() / "seg.dcm").SourceImageSequence) == lies[1]
    clinic.deliver(whole)
    assert (clinic.measured()["version"], clinic.measured()["slices"]) == (2, 6)
    assert {path.name for path in clinic.of().iterdir()} == {"seg.dcm", "overlay.png", "measurements.json"}
    assert not list((clinic.results / ".incoming").iterdir())


def test_the_same_result_has_the_same_bytes_anywhere(clinic: Clinic) -> None:
    """No time of making, no random identifier: a second site folder gets equal files."""

    def undated(instance: Dataset, _: int) -> None:
        del instance.StudyDate

    for change, day in ((None, "20260101"), (undated, "19700101")):
        batch = clinic.batch(clinic.dicom(5, change), clinic.balls(5))
        made = []
        for _ in range(2):
            shutil.rmtree(clinic.results, ignore_errors=True)
            clinic.deliver(batch, DeliverOptions())
            made.append({name: content for name, (content, _) in everything(clinic.of()).items()})
        assert made[0] == made[1]
        assert day.encode() in made[0]["seg.dcm"]
