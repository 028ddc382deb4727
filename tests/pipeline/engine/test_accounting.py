from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.accounting import Account
from stages.base import Reason, Reject
from stages.batches import Located
from stages.places import FileKind, Place
from tests.pipeline.toys import key_of, piece


def reject(number: int) -> Reject:
    return Reject(key_of(number), "read", Reason.CORRUPT)


def opened(*sizes: int) -> Account:
    unit = Account(len(sizes))
    at = 0
    for size in sizes:
        unit.add(piece(range(at, at + size)))
        at += size
    return unit


def test_rows_are_numbered_through_the_pieces() -> None:
    """The number of a piece's first row counts all pieces before it."""
    unit = Account(3)
    assert [unit.add(piece(range(size))) for size in (4, 3, 5)] == [0, 4, 7]
    assert unit.rows == 12


def test_a_unit_without_all_its_pieces_is_never_through() -> None:
    """Rows that are to come keep it open."""
    unit = Account(2)
    unit.add(piece(range(4)))
    unit.passed = unit.indexed = 4
    unit.delivered = True
    assert not unit.through
    assert not unit.finished


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    data=st.data(),
)
def test_it_is_finished_when_the_last_thing_is_done_and_not_before(
    sizes: list[int], data: st.DataObject
) -> None:
    """In whatever order rows pass, are indexed or rejected, and results are delivered."""
    unit = opened(*sizes)
    fates = [data.draw(st.sampled_from(["index", "reject"])) for _ in range(unit.rows)]
    steps = data.draw(st.permutations([*enumerate(fates), *(("pass",) * unit.rows), "deliver"]))
    for step in steps:
        assert not unit.finished
        match step:
            case "pass":
                unit.passed += 1
            case "deliver":
                unit.delivered = True
            case (_, "index"):
                unit.indexed += 1
            case (int(row), "reject"):
                unit.reject([reject(row)])
    assert unit.finished
    finished = unit.close()
    assert (finished.kept, finished.rejected) == (fates.count("index"), fates.count("reject"))
    assert finished.pieces == tuple(unit.pieces)


def test_a_reject_knows_its_place_in_any_piece() -> None:
    """The letter names the file the row was read from."""
    letters = opened(2, 3).reject([reject(4), reject(0)])
    assert [letter.place.path for letter in letters] == ["file-4", "file-0"]
    assert all(letter.counted for letter in letters)


def test_an_undelivered_row_is_told_but_not_counted() -> None:
    """It is indexed all the same."""
    unit = opened(2)
    (letter,) = unit.reject([reject(1)], counted=False)
    assert (letter.counted, letter.place.path, unit.rejected) == (False, "file-1", 0)


def test_copies_of_a_file_have_a_letter_each() -> None:
    """Two files with one key that are both rejected are both named."""
    places = tuple(Place(name, 0, FileKind.DICOM) for name in ("original", "copy"))
    unit = Account(1)
    unit.add(Located((key_of(1),) * 2, (key_of(9),) * 2, places))
    letters = [*unit.reject([reject(1)]), *unit.reject([reject(1)])]
    assert [letter.place.path for letter in letters] == ["original", "copy"]


def test_a_key_of_no_row_is_a_bug() -> None:
    """A stage that rejects what it was not given does not pass unnoticed."""
    with pytest.raises(KeyError, match=key_of(77).hex()):
        opened(2).reject([reject(77)])


def test_the_seconds_run_from_admission() -> None:
    """Queueing is included."""
    unit = opened(1)
    unit.admitted_s -= 5
    assert unit.close().seconds == pytest.approx(5, abs=1)
