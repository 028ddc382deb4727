from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from actors.crew import Landing, Lost, StageFailed
from actors.host import Hop
from actors.ray_crew import RayCrew
from cluster.session import session
from stages.base import Split
from tests.pipeline.toys import Closing, Double, Numbers, Read, key_of, piece

pytestmark = pytest.mark.cluster


@dataclass(frozen=True)
class Slow(Read):
    """Takes its time to open, as one that loads weights does."""

    opening_s: float = 2.0

    @contextmanager
    def open(self) -> Iterator[Callable[[Any], Split[Numbers]]]:
        time.sleep(self.opening_s)
        yield self._run


@dataclass(frozen=True)
class Locked:
    """Cannot be opened."""

    name: str = "locked"

    def open(self) -> Any:
        raise FileNotFoundError("no weights in the folder")


@dataclass(frozen=True)
class Dying(Closing):
    """Dies whenever it is closed."""

    @contextmanager
    def open(self) -> Iterator[Callable[[Numbers], Split[Numbers]]]:
        yield self._run
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Broken(Closing):
    """Dies when it is closed, and cannot be opened again."""

    @contextmanager
    def open(self) -> Iterator[Callable[[Numbers], Split[Numbers]]]:
        if self.path.exists():
            raise FileNotFoundError("no weights any more")
        yield self._run
        self.path.touch()
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with session(None, 200_000_000):
        yield


@contextmanager
def crew_of(*hops: Hop) -> Iterator[RayCrew]:
    crew = RayCrew({"front": hops})
    try:
        yield crew
    finally:
        crew.close()


def wait_for(crew: RayCrew, count: int) -> list[Landing]:
    landings: list[Landing] = []
    deadline = time.monotonic() + 60
    while len(landings) < count:
        assert time.monotonic() < deadline
        landings += crew.landed(1.0)
    return landings


def test_a_flight_lands_once_at_every_hop() -> None:
    """One receipt a hop, of the rows that were asked for, and then nothing more."""
    with crew_of(Hop((Read(),)), Hop((Double(),), last=True)) as crew:
        flight = crew.submit("front", range(1, 3), [piece(range(4))])
        landings = sorted(wait_for(crew, 2), key=lambda landing: landing.hop)
        assert [(landing.flight, landing.hop) for landing in landings] == [(flight, 0), (flight, 1)]
        assert landings[1].news.keys == (key_of(1), key_of(2))  # type: ignore[union-attr]  # a receipt
        began = time.monotonic()
        assert crew.landed(5.0) == []
        assert time.monotonic() - began < 1


def test_all_news_that_is_there_comes_at_once() -> None:
    """A pump that is behind catches up in one turn; one that is ahead waits no longer than it says."""
    with crew_of(Hop((Read(seconds=0.3),))) as crew:
        for start in range(3):
            crew.submit("front", None, [piece([start])])
        assert crew.landed(0.0) == []
        time.sleep(3)
        assert len(crew.landed(1.0)) == 3


def test_flights_spread_over_the_replicas_of_a_hop() -> None:
    """The replica that owes least gets the next flight, before and after answers have come."""
    with crew_of(Hop((Read(seconds=0.1),), replicas=2)) as crew:
        for _ in range(2):
            crew.submit("front", None, [piece([1])])
            crew.submit("front", None, [piece([2])])
            landings = wait_for(crew, 2)
            assert len({landing.news.pid for landing in landings}) == 2  # type: ignore[union-attr]  # receipts


def test_a_hop_answers_again_when_its_loss_is_told() -> None:
    """What the pump sends at once is not lost to a process that is still starting again."""
    with crew_of(Hop((Slow(deadly=frozenset({1})),)), Hop((Double(),), last=True)) as crew:
        crew.submit("front", None, [piece([1])])
        (lost,) = wait_for(crew, 1)
        assert isinstance(lost.news, Lost)
        assert "actor" in lost.news.cause
        crew.submit("front", None, [piece([2])])
        assert [landing.news.laps[0].kept for landing in wait_for(crew, 2)] == [1, 1]  # type: ignore[union-attr]


def test_a_lost_flight_lands_once_and_owes_nothing_more() -> None:
    """The hops behind wait for nothing; no replica is passed over for what it will never answer."""
    with crew_of(Hop((Read(deadly=frozenset({1})),)), Hop((Double(),), replicas=2)) as crew:
        flight = crew.submit("front", None, [piece([1])])
        assert [(landing.flight, landing.hop) for landing in wait_for(crew, 1)] == [(flight, 0)]
        assert crew.landed(2.0) == []
        assert [replica.outstanding for replica in crew._replicas()] == [0, 0, 0]


def test_a_stage_that_cannot_be_opened_is_named_with_its_error() -> None:
    """What the operator reads is one line."""
    with pytest.raises(StageFailed, match=r"^locked: FileNotFoundError: no weights in the folder$"):
        RayCrew({"front": [Hop((Locked(),))]})


def test_a_stage_that_raises_is_named_not_those_behind_it() -> None:
    """The hop where it happened, although every hop behind it fails by it."""
    with crew_of(Hop((Read(),)), Hop((Double(bug=True),)), Hop((Double(name="behind"),))) as crew:
        crew.submit("front", None, [piece(range(4))])
        with pytest.raises(StageFailed, match=r"^double: ZeroDivisionError: a bug in double$"):
            wait_for(crew, 3)


def test_close_passes_flights_in_the_air_without_a_halt(tmp_path: Path) -> None:
    """Hosts close in order after what they were sent; a cancelled task would stop Ray's queue for 30 s."""
    with crew_of(Hop((Read(seconds=0.3),)), Hop((Closing(tmp_path / "log"),))) as crew:
        for start in range(4):
            crew.submit("front", None, [piece([start])])
        began = time.monotonic()
    assert time.monotonic() - began < 25
    assert (tmp_path / "log").read_text().endswith("closed\n")
    assert crew.landed(1.0) == []


def test_a_process_that_dies_at_every_close_ends_the_run(tmp_path: Path) -> None:
    """It is closed twice and no more; the others are closed in order."""
    crew = RayCrew(
        {"front": [Hop((Dying(tmp_path / "log"),)), Hop((Closing(tmp_path / "other", name="b"),))]}
    )
    with pytest.raises(StageFailed, match=r"^log: [^;]+$"):
        crew.close()
    assert (tmp_path / "other").read_text() == "closed\n"


def test_a_process_that_cannot_be_opened_again_to_be_closed_ends_the_run(tmp_path: Path) -> None:
    """What it left unfinished stays so, which the operator is told with the reason."""
    crew = RayCrew({"front": [Hop((Broken(tmp_path / "log"),))]})
    with pytest.raises(StageFailed, match=r"^log: FileNotFoundError: no weights any more$"):
        crew.close()
