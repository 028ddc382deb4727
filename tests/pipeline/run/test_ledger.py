from __future__ import annotations

import sqlite3
from datetime import date
from pathlib import Path

import pytest

from pipeline.engine.accounting import Finished
from pipeline.run.ledger import Done, Ledger
from stages.batches import Located
from stages.places import FileKind, Place
from tests.pipeline.toys import key_of, piece

CUT = tuple(piece(range(start, start + 4), group=key_of(7), parts=2) for start in (0, 4))


def test_a_finished_unit_is_found_after_a_restart(tmp_path: Path) -> None:
    """What is entered outlives the process that entered it."""
    with Ledger(tmp_path) as ledger:
        ledger.enter(Finished((piece(range(4)),), 3, 1, 0.5))
    with Ledger(tmp_path) as ledger:
        assert ledger.find([piece(range(4))]) == Done(kept=3, rejected=1)


def test_what_is_not_finished_is_not_found(tmp_path: Path) -> None:
    """Also where frames are the same but one, or in another order."""
    with Ledger(tmp_path) as ledger:
        ledger.enter(Finished((piece(range(4)),), 4, 0, 0.5))
        for other in (range(3), range(5), range(1, 5), (3, 2, 1, 0), ()):
            assert ledger.find([piece(other)]) is None


def test_a_cut_series_is_found_whole_only(tmp_path: Path) -> None:
    """A series that has grown since is repeated with all its pieces, never a part of it."""
    with Ledger(tmp_path) as ledger:
        ledger.enter(Finished(CUT, 7, 1, 0.5))
        assert ledger.find(CUT) == Done(kept=7, rejected=1)
        assert ledger.find(CUT[:1]) is None
        assert ledger.find([*CUT, piece(range(8, 12))]) is None


def test_a_unit_is_the_same_however_it_is_cut(tmp_path: Path) -> None:
    """Another batch size repeats nothing of a series."""
    with Ledger(tmp_path) as ledger:
        ledger.enter(Finished(CUT, 8, 0, 0.5))
        assert ledger.find([piece(range(8))]) == Done(kept=8, rejected=0)


def test_the_newest_entry_counts(tmp_path: Path) -> None:
    """A unit that was repeated has the numbers of its last run."""
    with Ledger(tmp_path) as ledger:
        ledger.enter(Finished(CUT, 6, 2, 0.5))
        ledger.enter(Finished(CUT, 8, 0, 0.5))
        assert ledger.find(CUT) == Done(kept=8, rejected=0)


def test_a_reader_sees_what_a_writer_enters(tmp_path: Path) -> None:
    """The source looks up in its own connection while the run enters."""
    with Ledger(tmp_path) as writer, Ledger(tmp_path) as reader:
        assert reader.find(CUT) is None
        writer.enter(Finished(CUT, 8, 0, 0.5))
        assert reader.find(CUT) == Done(kept=8, rejected=0)


def test_a_closed_ledger_is_closed(tmp_path: Path) -> None:
    """No entry is accepted that would not be kept."""
    ledger = Ledger(tmp_path)
    ledger.close()
    with pytest.raises(sqlite3.ProgrammingError):
        ledger.enter(Finished(CUT, 8, 0, 0.5))


def test_the_files_of_a_series_are_found_for_a_later_run(tmp_path: Path) -> None:
    """Of DICOM, whose series may come in parts; any other file is a series by itself."""
    places = (
        Place("/b\udcff", 0, FileKind.DICOM),
        Place("/a", 0, FileKind.DICOM),
        Place("/n", 0, FileKind.NIFTI),
    )
    keys = (key_of(1), key_of(2), key_of(3))
    unit = Located(keys, (b"s", b"s", b"t"), places)
    with Ledger(tmp_path) as ledger:
        ledger.enter(Finished((unit,), 3, 0, 0.5))
        ledger.enter(Finished((unit,), 3, 0, 0.5))
        assert ledger.files_of(b"s") == [Path("/a"), Path("/b\udcff")]
        assert ledger.files_of(b"t") == []


def test_what_was_delivered_first_is_kept(tmp_path: Path) -> None:
    """With path, day and geometry; a row that was not delivered, or has no digest, is not entered."""
    place = Place("/a\udcff", 0, FileKind.DICOM)
    keys = (key_of(1), key_of(2), key_of(3))
    unit = Located(keys, (b"s",) * 3, (place,) * 3, geometry=("[]",) * 3)
    with Ledger(tmp_path) as ledger:
        ledger.enter(Finished((unit,), 3, 0, 0.5), contents={keys[0]: b"one", keys[1]: b""})
        ledger.enter(Finished((unit,), 3, 0, 0.5), contents={keys[0]: b"two"})
        found = ledger.delivered(keys)
    assert found.keys() == {keys[0]}
    held = found[keys[0]]
    assert (held.content, held.path, held.geometry) == (b"one", "/a\udcff", "[]")
    assert date.fromisoformat(held.day)
