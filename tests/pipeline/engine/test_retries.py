from __future__ import annotations

import pytest

from pipeline.engine.retries import Retries, Trip


def trip(rows: range | None) -> Trip:
    return Trip("front", ("load",), rows, ())


@pytest.mark.parametrize("rows", [None, range(3, 4)])
def test_what_cannot_be_halved_is_given_up_after_its_second_loss_alone(rows: range | None) -> None:
    """A delivery or a single row flies twice beside others, twice alone, and no more."""
    retries, lone = Retries(), trip(rows)
    assert retries.lost(lone)
    assert (retries.again(), retries.suspects) == ([lone], False)
    for _ in range(2):
        assert retries.lost(lone)
        assert (retries.again(), retries.alone()) == ([], lone)
    assert not retries.lost(lone)
    assert not retries


def test_rows_that_are_lost_alone_fly_in_halves_the_first_half_first() -> None:
    """Each half is a suspect already: it flies alone, and before any other suspect."""
    retries, many, other = Retries(), trip(range(2, 7)), trip(None)
    other.losses = 1
    retries.lost(many)
    assert retries.again() == [many]
    retries.lost(many)
    retries.lost(other)
    assert retries.alone() is many
    assert retries.lost(many)
    halves = [retries.alone(), retries.alone()]
    assert [half.rows for half in halves] == [range(2, 4), range(4, 7)]
    assert all(half.suspect for half in halves)
    assert retries.alone() is other
    assert not retries


def test_the_deadly_row_is_found_among_many() -> None:
    """Every other row flies once more at most for each halving."""
    retries, deadly, saved = Retries(), 5, []
    waiting = [trip(range(16))]
    flights = 0
    while waiting or retries:
        one = waiting.pop() if waiting else retries.alone()
        flights += 1
        if one.rows is None or deadly not in one.rows:
            saved += list(one.rows or ())
        elif not retries.lost(one):
            assert one.rows == range(deadly, deadly + 1)
        waiting += retries.again()
    assert sorted([*saved, deadly]) == list(range(16))
    assert flights == 2 + 1 + 2 * 4 + 1
