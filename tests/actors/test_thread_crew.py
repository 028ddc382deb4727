from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from actors import thread_crew
from actors.crew import Landing, StageFailed
from actors.host import Hop
from actors.thread_crew import ThreadCrew
from stages.base import Split
from tests.pipeline.toys import Double, Read, key_of, piece


@dataclass(frozen=True)
class Gate:
    """Waits for the event before it lets a batch through; tells what it opened, ran and released."""

    name: str = "gate"
    gate: threading.Event = field(default_factory=threading.Event)
    diary: list[str] = field(default_factory=list)

    @contextmanager
    def open(self) -> Iterator[Callable[[Any], Split[Any]]]:
        self.diary.append("open")
        yield self._run
        self.diary.append("close")

    def _run(self, batch: Any) -> Split[Any]:
        self.diary.append(f"run by {threading.get_ident()}")
        assert self.gate.wait(10)
        return Split(batch)


@dataclass(frozen=True)
class Locked:
    """Cannot be opened."""

    name: str = "locked"

    def open(self) -> AbstractContextManager[Callable[[Any], Split[Any]]]:
        raise FileNotFoundError("no weights in the folder")


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def crew_of(*hops: Hop) -> ThreadCrew:
    return ThreadCrew({"front": hops})


def wait_for(crew: ThreadCrew, count: int) -> list[Landing]:
    landings: list[Landing] = []
    deadline = time.monotonic() + 10
    while len(landings) < count:
        assert time.monotonic() < deadline
        landings += crew.landed(1.0)
    return landings


def test_a_flight_lands_once_at_every_hop() -> None:
    """One receipt a hop, the first hop's first, and its output is what the next flight loads."""
    crew = crew_of(Hop((Read(),)), Hop((Double(),), last=True))
    flight = crew.submit("front", range(4), [piece(range(4))])
    landings = wait_for(crew, 2)
    assert [(landing.flight, landing.hop) for landing in landings] == [(flight, 0), (flight, 1)]
    assert landings[1].news.keys == tuple(map(key_of, range(4)))  # type: ignore[union-attr]  # a receipt
    assert crew.landed(0.0) == []
    crew.close()


def test_a_window_is_cut_in_the_first_hop_only() -> None:
    """Rows lo..hi-1 of the load, and then all that are left of them."""
    crew = crew_of(Hop((Read(bad=frozenset({1})),)), Hop((Double(),), last=True))
    crew.submit("front", range(1, 3), [piece(range(4))])
    last = wait_for(crew, 2)[-1].news
    assert last.keys == (key_of(2),)  # type: ignore[union-attr]  # a receipt
    crew.close()


def test_a_stage_that_cannot_be_opened_is_named_and_all_others_released() -> None:
    """The failure names stage and cause; no thread of the crew is left."""
    gate = Gate()
    with pytest.raises(StageFailed, match=r"^locked: FileNotFoundError: no weights in the folder$"):
        crew_of(Hop((gate,)), Hop((Locked(),)))
    assert gate.diary == ["open", "close"]


def test_a_stage_that_raises_is_named_not_those_behind_it() -> None:
    """The hop where it happened, although every hop behind it fails by it."""
    crew = crew_of(Hop((Read(),)), Hop((Double(bug=True),)), Hop((Gate(),)))
    crew.submit("front", None, [piece(range(4))])
    with pytest.raises(StageFailed, match=r"^double: ZeroDivisionError: a bug in double$"):
        wait_for(crew, 3)
    crew.close()


def test_close_releases_every_stage_and_ends_every_thread() -> None:
    """One open and one close a replica."""
    gate = Gate()
    crew = crew_of(Hop((gate,), replicas=3), Hop((Double(),)))
    crew.close()
    assert sorted(gate.diary) == ["close"] * 3 + ["open"] * 3


def test_close_waits_for_the_threads_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only for what they release: the interpreter may end when a run is closed."""
    settle = thread_crew._settle

    def slowly(future: Future[Any], call: Callable[[], Any]) -> Any:
        result = settle(future, call)
        time.sleep(0.1)
        return result

    monkeypatch.setattr(thread_crew, "_settle", slowly)
    crew_of(Hop((Read(),), replicas=2)).close()
    assert "read" not in {thread.name for thread in threading.enumerate()}


def test_close_abandons_flights_in_the_air() -> None:
    """What a thread is busy with is finished; what only waits is not begun."""
    gate = Gate()
    crew = crew_of(Hop((gate,)), Hop((Read(),)))
    for start in range(0, 40, 4):
        crew.submit("front", None, [piece(range(start, start + 4))])
    while "run" not in gate.diary[-1]:
        time.sleep(0.005)
    threading.Timer(0.2, gate.gate.set).start()
    crew.close()
    assert sum("run" in line for line in gate.diary) == 1


def test_two_replicas_work_at_the_same_time() -> None:
    """Both threads are inside the stage before either is let on."""
    gate = Gate()
    crew = crew_of(Hop((gate,), replicas=2))
    for start in (0, 4):
        crew.submit("front", None, [piece(range(start, start + 4))])
    while len(gate.diary) < 4:
        time.sleep(0.005)
    assert len({line for line in gate.diary if "run" in line}) == 2
    gate.gate.set()
    assert len(wait_for(crew, 2)) == 2
    crew.close()


def test_nothing_in_the_air_is_not_waited_for() -> None:
    """No flight, no news, at once."""
    crew = crew_of(Hop((Read(),)))
    began = time.monotonic()
    assert crew.landed(5.0) == []
    assert time.monotonic() - began < 1
    crew.close()


def test_an_output_is_a_load_of_another_leg() -> None:
    """A later flight waits for what an earlier one will bring."""
    legs = {"front": [Hop((Read(),), narrow=lambda batch: batch)], "back": [Hop((Double(),), last=True)]}
    crew = ThreadCrew(legs)
    first = crew.submit("front", None, [piece(range(3))])
    crew.submit("back", None, [first.narrowed])
    last = next(landing for landing in wait_for(crew, 2) if landing.flight is not first)
    assert last.news.keys == tuple(map(key_of, range(3)))  # type: ignore[union-attr]  # a receipt
    crew.close()
