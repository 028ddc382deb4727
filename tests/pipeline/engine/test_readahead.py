from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.engine.readahead import ReadAhead

READ_AHEAD = 5  # four in the queue and one in hand


def until(condition: object, timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]  # a callable
        assert time.monotonic() < deadline
        time.sleep(0.005)


def drained(ahead: ReadAhead[int]) -> list[int]:
    items = []
    while not ahead.exhausted:
        if (item := ahead.next(1.0)) is not None:
            items.append(item)
    return items


def source_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "source"]


def test_all_items_come_in_order() -> None:
    """What the source gives is handed out once, then the read-ahead is exhausted."""
    ahead = ReadAhead(iter(range(50)))
    assert drained(ahead) == list(range(50))
    assert ahead.next(0.0) is None


def test_an_empty_source_is_exhausted() -> None:
    """Nothing comes, and it says so."""
    assert drained(ReadAhead(iter(()))) == []


def test_reading_ahead_is_bounded() -> None:
    """A stream that takes nothing stops the reading after a few items."""
    taken: list[int] = []

    def source() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    ahead = ReadAhead(source())
    until(lambda: len(taken) == READ_AHEAD)
    time.sleep(0.3)
    assert len(taken) == READ_AHEAD
    ahead.next(1.0)
    until(lambda: len(taken) == READ_AHEAD + 1)
    ahead.stop()


def test_a_slow_source_never_blocks_longer_than_asked() -> None:
    """Nothing in time is None, and the read-ahead is not exhausted."""
    gate = threading.Event()

    def source() -> Iterator[int]:
        gate.wait()
        yield 1

    ahead = ReadAhead(source())
    began = time.monotonic()
    assert ahead.next(0.0) is None
    assert ahead.next(0.05) is None
    assert time.monotonic() - began < 1
    assert not ahead.exhausted
    gate.set()
    assert ahead.next(5.0) == 1


def test_an_exception_of_the_source_is_raised_after_its_items() -> None:
    """What was read before the failure is not lost; the failure is not lost either."""

    def source() -> Iterator[int]:
        yield 1
        raise PermissionError("the folder is gone")

    ahead = ReadAhead(source())
    assert ahead.next(5.0) == 1
    with pytest.raises(PermissionError, match="the folder is gone"):
        ahead.next(5.0)


def test_a_stopped_feed_takes_no_more_and_its_thread_ends() -> None:
    """Whether the reader waits for room or for its source."""
    others = source_threads()  # of tests before, which may end meanwhile
    taken: list[int] = []

    def source() -> Iterator[int]:
        for number in range(10**9):
            taken.append(number)
            yield number

    ahead = ReadAhead(source())
    assert ahead.next(5.0) == 0
    ahead.stop()
    assert ahead.exhausted
    assert ahead.next(0.0) is None
    until(lambda: not set(source_threads()) - set(others))
    assert len(taken) <= READ_AHEAD + 1


def test_a_stop_closes_the_source() -> None:
    """What the source holds open is released when the reading ends, not some time later."""
    released = threading.Event()

    def source() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            released.set()

    held = source()  # a reference of our own, so that no garbage collector closes it
    ahead = ReadAhead(held)
    assert ahead.next(5.0) == 0
    ahead.stop()
    assert released.wait(5.0)


def test_sources_take_turns() -> None:
    """One item of each that has one, whatever the others' length; what each gives stays in order."""
    lanes = [[(source, number) for number in range(count)] for source, count in enumerate((9, 3, 6))]
    ahead = ReadAhead(*lanes)
    until(lambda: ahead._arrived._value >= 10)  # type: ignore[attr-defined]  # four of each, but one has three
    items = [ahead.next(1.0) for _ in range(9)]
    assert sorted(items) == sorted((source, number) for number in range(3) for source in range(3))  # type: ignore[type-var]
    rest = drained(ahead)  # type: ignore[arg-type]  # of pairs
    for source, lane in enumerate(lanes):
        assert [item for item in (*items, *rest) if item and item[0] == source] == lane  # type: ignore[index]


def test_a_silent_source_stops_no_other() -> None:
    """A source without items waits; the folder beside it goes on, and the read-ahead is not exhausted."""
    gate = threading.Event()

    def silent() -> Iterator[int]:
        gate.wait()
        yield -1

    ahead = ReadAhead(silent(), range(20))
    assert [ahead.next(5.0) for _ in range(20)] == list(range(20))
    assert ahead.next(0.05) is None
    assert not ahead.exhausted
    gate.set()
    assert ahead.next(5.0) == -1
    assert ahead.next(5.0) is None
    assert ahead.exhausted
