"""Deliver as the engine calls it: every row accounted for, every file whole."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from PIL import Image

from stages import files
from stages.base import Reason
from stages.batches import Segmented
from stages.deliver.options import DeliverOptions
from stages.places import FileKind, Place

if TYPE_CHECKING:
    from tests.stages.deliver.conftest import Clinic


def names(folder: Path) -> set[str]:
    """What a folder holds, hidden files included, but for the empty folder of unfinished deliveries."""
    unfinished = folder / ".incoming"
    assert not unfinished.exists() or not list(unfinished.iterdir())
    return {path.name for path in folder.iterdir() if path != unfinished}


def test_a_dicom_series_gets_its_three_files(clinic: Clinic) -> None:
    """seg.dcm, overlay.png and measurements.json, and nothing else, under the series' pseudonym."""
    split = clinic.deliver(clinic.batch(clinic.dicom(9), clinic.balls(9)))
    assert names(clinic.results) == {clinic.of().name}
    assert names(clinic.of()) == {"seg.dcm", "overlay.png", "measurements.json"}
    assert len(split.kept) == 9
    assert split.rejected == ()
    assert {clinic.results / path for path in split.kept.paths} == set(clinic.of().iterdir())
    with Image.open(clinic.of() / "overlay.png") as sheet:
        assert sheet.format == "PNG"


def test_several_series_in_one_batch_do_not_mix(clinic: Clinic) -> None:
    """Each series has its own folder with its own rows."""
    places = clinic.dicom(6)
    clinic.deliver(clinic.batch(places, clinic.balls(6), ["a", "b"] * 3))
    assert names(clinic.results) == {clinic.of("a").name, clinic.of("b").name}
    assert clinic.measured("a")["slices"] == clinic.measured("b")["slices"] == 3


def test_a_duplicate_row_is_written_once_and_counted_twice(clinic: Clinic) -> None:
    """A retried row is no second slice, and the engine's sum still holds."""
    batch = clinic.batch(clinic.dicom(4), clinic.balls(4))
    split = clinic.deliver(Segmented.join([batch, batch]))
    assert len(split.kept) + len(split.rejected) == 8
    assert clinic.measured()["slices"] == 4


def test_a_stray_object_of_a_series_cut_in_pieces_is_not_delivered(clinic: Clinic) -> None:
    """The segment stage saw it in two batches, and the second had nothing larger in it."""
    places, masks = clinic.dicom(12), [*clinic.balls(9), *[np.zeros((48, 40))] * 3]
    clinic.deliver(clinic.batch(places, masks))
    volume_ml = clinic.measured()["masks"][0]["volume_ml"]
    masks[11] = masks[11].copy()
    masks[11][2:5, 2:5] = 1
    whole = clinic.batch(places, masks)
    pieces = [clinic.batch(places[low:high], masks[low:high]) for low, high in ((0, 6), (6, 12))]
    for batch in (whole, Segmented.join(pieces)):
        clinic.deliver(batch)
        assert clinic.measured()["masks"][0]["volume_ml"] == volume_ml
    with replace(clinic.stage(), largest_component=False).open() as work:
        work(whole)
    assert clinic.measured()["masks"][0]["volume_ml"] > volume_ml


def test_doing_a_series_again_replaces_it(clinic: Clinic) -> None:
    """A second delivery leaves the same files, and measurements equal to the byte."""
    batch = clinic.batch(clinic.dicom(5), clinic.balls(5))
    clinic.deliver(batch)
    before = (clinic.of() / "measurements.json").read_bytes()
    clinic.deliver(batch)
    assert (clinic.of() / "measurements.json").read_bytes() == before
    assert names(clinic.of()) == {"seg.dcm", "overlay.png", "measurements.json"}


def test_what_a_killed_worker_left_behind_is_cleared(clinic: Clinic) -> None:
    """Half-written temporary files of an earlier try do not stay."""
    clinic.of().mkdir(parents=True)
    (clinic.of() / ".seg.dcm.0123abcd.part").write_bytes(b"half")
    clinic.deliver(clinic.batch(clinic.dicom(3), clinic.balls(3)))
    assert names(clinic.of()) == {"seg.dcm", "overlay.png", "measurements.json"}


def test_a_source_that_vanished_is_undeliverable_and_the_rest_goes_on(clinic: Clinic) -> None:
    """Rows without their source become rejects with a reason; the other slices are delivered."""
    places = clinic.dicom(6)
    batch = clinic.batch(places, clinic.balls(6))
    Path(places[2].path).unlink()
    split = clinic.deliver(batch)
    (reject,) = split.rejected
    assert (reject.key, reject.stage, reject.reason) == (batch.rows.keys[2], "deliver", Reason.UNDELIVERABLE)
    assert places[2].path not in reject.detail
    assert len(split.kept) == 5
    assert (clinic.measured()["slices"], clinic.measured()["undelivered"]) == (5, 1)


@pytest.mark.parametrize("kind", [FileKind.DICOM, FileKind.NIFTI])
def test_a_series_without_any_source_left_is_rejected_whole(clinic: Clinic, kind: FileKind) -> None:
    """Nothing to place the masks on: every row is a reject, and the stage goes on."""
    places = [Place(str(clinic.folder / "gone"), frame, kind) for frame in range(3)]
    split = clinic.deliver(clinic.batch(places, [np.ones((4, 5))] * 3))
    assert len(split.kept) == 0
    assert {reject.reason for reject in split.rejected} == {Reason.UNDELIVERABLE}
    assert clinic.measured()["undelivered"] == 3


def test_a_source_that_changed_its_shape_is_undeliverable(clinic: Clinic) -> None:
    """A mask is never laid over an image of another size."""
    split = clinic.deliver(clinic.batch(clinic.dicom(1), [np.ones((10, 10))]))
    assert [reject.reason for reject in split.rejected] == [Reason.UNDELIVERABLE]


def test_no_overlay_where_none_is_asked_for(clinic: Clinic) -> None:
    """The option is obeyed."""
    clinic.deliver(clinic.batch(clinic.dicom(3), clinic.balls(3)), DeliverOptions(overlay_slices=0))
    assert names(clinic.of()) == {"seg.dcm", "measurements.json"}


def test_a_full_disk_is_not_the_rows_fault(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the operating system while writing raises, and leaves the files that were there."""
    batch = clinic.batch(clinic.dicom(3), clinic.balls(3))
    clinic.deliver(batch)
    before = {path: path.read_bytes() for path in clinic.of().iterdir()}

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        clinic.deliver(batch, DeliverOptions(series_number=77))
    assert {path: path.read_bytes() for path in clinic.of().iterdir()} == before


def test_the_stage_pickles_and_names_itself(clinic: Clinic) -> None:
    """A stage travels to a worker as a recipe."""
    stage = clinic.stage()
    assert pickle.loads(pickle.dumps(stage)) == stage  # noqa: S301  our own bytes
    assert stage.name == "deliver"


def test_an_open_stage_draws_on_one_thread(clinic: Clinic) -> None:
    """Replicas share a machine's cores: threads of each would wait for one another."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        with clinic.stage().open():
            assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)
