from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import JPEGLossless

from stages.base import Reason
from stages.batches import Frame, Frames, Located
from stages.encrypt.keys.folder import load_owner
from stages.encrypt.keys.opening import open_sealed
from stages.encrypt.keys.site import load_site_secret
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site
from stages.ingest.sources.folder import scan
from stages.ingest.stage import Ingest
from stages.places import FileKind, Held, Place
from tests.stages.ingest.maker import BORN, NAME, PATIENT_ID, SERIES, STUDY, dicom, ramp, save, write_series


def works(folder: Path, keys: Path, batch: int = 64) -> list[Located]:
    found = scan([folder], Site(load_site_secret(keys)), IngestOptions(batch=batch))
    return [one for one in found if isinstance(one, Located)]


def test_rows_leave_with_pixels_in_the_open_and_identity_sealed(tmp_path: Path, keys: Path) -> None:
    """The owner reads who it is; the site reads where it was."""
    write_series(tmp_path, [2.0, 1.0])
    (work,) = works(tmp_path, keys)
    with Ingest(IngestOptions(), keys).open() as run:
        split = run(work)
    assert split.rejected == ()
    rows = split.kept.rows
    np.testing.assert_array_equal(split.kept.frames[0].image, ramp() + 1)
    record = json.loads(open_sealed(load_owner(keys, None), rows.sealed[0], rows.keys[0]))
    assert (record["PatientName"], record["PatientID"], record["FileName"]) == (NAME, PATIENT_ID, "0001.dcm")
    assert record["SOPInstanceUID"] == f"{SERIES}.2"
    site = Site(load_site_secret(keys))
    assert [site.open_ticket(*pair) for pair in zip(rows.tickets, rows.keys, strict=True)] == list(
        work.places
    )


def test_another_image_than_the_delivered_is_rejected(tmp_path: Path, keys: Path) -> None:
    """By the digest that the row brings along; the reason names the earlier file and the day."""
    write_series(tmp_path, [2.0, 1.0])
    (work,) = works(tmp_path, keys)
    with Ingest(IngestOptions(), keys).open() as run:
        first, second = run(work).kept.rows.contents
        held = (Held(first, "x", "2026-11-01"), Held(first, "old/1.dcm", "2026-11-01"))
        split = run(replace(work, held=held))
    assert split.kept.rows.contents == (first,) != (second,)
    (reject,) = split.rejected
    assert (reject.key, reject.reason) == (work.keys[1], Reason.CONFLICT)
    assert "old/1.dcm on 2026-11-01" in reject.detail


def test_nothing_that_identifies_is_in_a_batch(tmp_path: Path, keys: Path) -> None:
    """No name, number, date, UID or path in the bytes that go to the object store, context included."""
    folder = tmp_path / "Mustermann-folder"
    write_series(folder, [float(n) for n in range(5)])
    with Ingest(IngestOptions(), keys).open() as run:
        travelling = [pickle.dumps(run(work).kept) for work in works(folder, keys, batch=2)]
    for bytes_ in travelling:
        for word in (NAME, "Mustermann", PATIENT_ID, BORN, STUDY, SERIES, str(tmp_path), ".dcm"):
            assert word.encode() not in bytes_


def test_context_frames_come_along_uncounted(tmp_path: Path, keys: Path) -> None:
    """The neighbours of a cut, and none at the ends of the series."""
    write_series(tmp_path, [float(n) for n in range(6)])
    with Ingest(IngestOptions(), keys).open() as run:
        first, second, third = (run(work).kept for work in works(tmp_path, keys, batch=2))
    assert first.before is None
    assert third.after is None
    assert isinstance(second.before, Frame)
    assert isinstance(second.after, Frame)
    np.testing.assert_array_equal(second.before.image, ramp() + 1)
    np.testing.assert_array_equal(second.after.image, ramp() + 4)


def test_a_bad_frame_is_rejected_alone(tmp_path: Path, keys: Path) -> None:
    """The other frames of its file, and the other files, go on."""
    cut = save(dicom(np.stack([ramp()] * 3), f"{SERIES}.7"), tmp_path / "a")
    save(dicom(ramp(), f"{SERIES}.8"), tmp_path / "b")
    works_ = works(tmp_path, keys)
    cut.write_bytes(cut.read_bytes()[:-9])
    with Ingest(IngestOptions(), keys).open() as run:
        split = run(works_[0])
    assert len(split.kept) == 3
    (rejected,) = split.rejected
    assert (rejected.key, rejected.stage, rejected.reason) == (
        works_[0].keys[2],
        "ingest",
        Reason.TRUNCATED,
    )
    assert len(split.kept) + len(split.rejected) == len(works_[0])


def test_a_file_that_vanished_is_rejected_and_no_context(tmp_path: Path, keys: Path) -> None:
    """Between the scan and the reading."""
    write_series(tmp_path, [0.0, 1.0, 2.0, 3.0])
    first, second = works(tmp_path, keys, batch=2)
    (tmp_path / "0001.dcm").unlink()
    with Ingest(IngestOptions(), keys).open() as run:
        one, other = run(first), run(second)
    assert [reject.reason for reject in one.rejected] == [Reason.UNREADABLE]
    assert other.kept.before is None
    assert len(other.kept) == 2


def test_context_of_another_series_is_dropped(tmp_path: Path, keys: Path) -> None:
    """A bisected batch may have lost the row that its context belonged to."""
    write_series(tmp_path / "a", [0.0, 1.0])
    write_series(tmp_path / "b", [0.0, 1.0], f"{SERIES}.9")
    (work,) = works(tmp_path, keys)
    cut = work.cut(1, 4)
    assert cut.before == work.places[0]
    Path(cut.places[0].path).unlink()
    with Ingest(IngestOptions(), keys).open() as run:
        assert run(cut).kept.before is None


def test_a_batch_of_nothing_but_bad_files_is_empty(tmp_path: Path, keys: Path) -> None:
    """No frame is kept, each is rejected."""
    place = Place(str(tmp_path / "gone"), 0, FileKind.RASTER)
    with Ingest(IngestOptions(), keys).open() as run:
        split = run(Located((b"k" * 32,), (b"s" * 32,), (place,)))
    assert isinstance(split.kept, Frames)
    assert (len(split.kept), len(split.rejected)) == (0, 1)


def test_the_stage_is_a_picklable_recipe(keys: Path) -> None:
    """It travels to the workers as what it is configured with."""
    stage = Ingest(IngestOptions(batch=7), keys)
    assert pickle.loads(pickle.dumps(stage)) == stage  # noqa: S301  (our own bytes)
    assert stage.name == "ingest"


def test_a_missing_decoder_fails_at_once(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without it would refuse every compressed file as corrupt."""
    monkeypatch.delitem(get_decoder(JPEGLossless)._available, "imagecodecs")
    with pytest.raises(RuntimeError, match="install imagecodecs"), Ingest(IngestOptions(), keys).open():
        pass
