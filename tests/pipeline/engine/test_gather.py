from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.accounting import Account
from pipeline.engine.gather import Gather, Share, claim, cut
from stages.base import Reason, Reject

BLOCK = 16
LONG_S = 1e9


def share(size: int, start: int = 0, first: int = 0) -> Share:
    return Share(Account(1), tuple(number.to_bytes(2, "big") for number in range(start, start + size)), first)


def shares_of(sizes: Sequence[int]) -> list[Share]:
    starts = accumulate(sizes, initial=0)
    return [share(size, start) for size, start in zip(sizes, starts, strict=False)]


def filled(sizes: Sequence[int]) -> Gather:
    waiting = Gather(BLOCK, LONG_S)
    for number, one in enumerate(shares_of(sizes)):
        waiting.add(number, one)
    return waiting


def blocks(waiting: Gather, *, ending: bool) -> list[tuple[tuple[Any, ...], tuple[Share, ...]]]:
    found = []
    while (block := waiting.due(ending=ending)) is not None:
        found.append(block)
    return found


sizes = st.lists(st.integers(1, BLOCK), max_size=30)


@given(sizes=sizes)
def test_every_load_leaves_once_and_in_order(sizes: list[int]) -> None:
    """What was added comes out, each load beside its own share, and nothing is left."""
    waiting = filled(sizes)
    found = blocks(waiting, ending=True)
    assert [load for loads, _ in found for load in loads] == list(range(len(sizes)))
    assert [one.keys for _, shares in found for one in shares] == [one.keys for one in shares_of(sizes)]
    assert waiting.rows == 0


@given(sizes=sizes, ending=st.booleans())
def test_no_block_is_exceeded_and_none_could_take_more(sizes: list[int], ending: bool) -> None:
    """A block has at most its bound, and the load after it would not have fitted."""
    counts = [[len(one.keys) for one in shares] for _, shares in blocks(filled(sizes), ending=ending)]
    assert all(sum(block) <= BLOCK for block in counts)
    assert all(sum(block) + following[0] > BLOCK for block, following in pairwise(counts))


@given(sizes=sizes)
def test_a_part_filled_block_waits(sizes: list[int]) -> None:
    """Before the end and before its age, only rows that make a block leave."""
    waiting = filled(sizes)
    left = sum(sizes) - sum(len(one.keys) for _, shares in blocks(waiting, ending=False) for one in shares)
    assert waiting.rows == left < BLOCK


def test_nothing_waiting_is_never_due() -> None:
    """The end of an empty gather is no block."""
    assert Gather(BLOCK, LONG_S).due(ending=True) is None


def test_an_old_load_takes_along_what_came_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """The age is that of the oldest load; a flushed gather starts anew."""
    now = 0.0
    monkeypatch.setattr("pipeline.engine.gather.time.monotonic", lambda: now)
    waiting = Gather(BLOCK, 30.0)
    waiting.add("first", share(1))
    now = 29.0
    waiting.add("second", share(1))
    assert waiting.due(ending=False) is None
    now = 30.0
    assert blocks(waiting, ending=False)[0][0] == ("first", "second")
    waiting.add("third", share(1))
    now = 59.0
    assert waiting.due(ending=False) is None


def test_a_load_larger_than_a_block_is_a_bug() -> None:
    """It could never leave: the run would not end."""
    with pytest.raises(ValueError, match="17 rows does not fit a block of 16"):
        Gather(BLOCK, LONG_S).add("load", share(BLOCK + 1))


@given(sizes=sizes, data=st.data())
def test_a_cut_has_the_rows_it_names(sizes: list[int], data: st.DataObject) -> None:
    """Keys, their unit and their number in it are those of rows lo..hi-1."""
    shares = shares_of(sizes)
    rows = [(one.unit, key, number) for one in shares for number, key in enumerate(one.keys, one.first)]
    lo = data.draw(st.integers(0, len(rows)))
    hi = data.draw(st.integers(lo, len(rows)))
    found = cut(shares, range(lo, hi))
    assert [
        (one.unit, key, number) for one in found for number, key in enumerate(one.keys, one.first)
    ] == rows[lo:hi]
    assert all(one.keys for one in found)


def rejects_of(keys: Sequence[bytes]) -> list[Reject]:
    return [Reject(key, "seal", Reason.OVERFLOW) for key in keys]


@given(
    keys=st.lists(st.lists(st.integers(0, 5).map(lambda n: bytes([n])), max_size=6), max_size=5),
    random=st.randoms(use_true_random=False),
)
def test_each_reject_is_claimed_by_a_share_that_has_its_key(keys: list[list[bytes]], random: Any) -> None:
    """No reject is lost or claimed twice, and no share claims a key more often than it has it."""
    shares = [Share(Account(1), tuple(own)) for own in keys]
    every = [key for own in keys for key in own]
    rejected = rejects_of(random.sample(every, random.randint(0, len(every))))
    claims = claim(shares, rejected)
    assert [one for one, _ in claims] == shares
    assert Counter(reject for _, mine in claims for reject in mine) == Counter(rejected)
    assert all(Counter(reject.key for reject in mine) <= Counter(one.keys) for one, mine in claims)


def test_a_key_that_stands_twice_is_claimed_once_each() -> None:
    """Two copies of a row in two units: each unit has one reject."""
    shares = [Share(Account(1), (b"a", b"b")), Share(Account(1), (b"a",))]
    assert [len(mine) for _, mine in claim(shares, rejects_of([b"a", b"a"]))] == [1, 1]
