"""A deterministic crew of one thread whose workers die, and stages that let them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from actors.crew import Flight, Landing, Lost
from actors.host import Hop, Host
from stages.base import Reason, Reject, Split
from stages.batches import Located, Refused, Uncounted

TURNS = 20_000  # many times what any example needs; more means that the pump goes round in circles


@dataclass(frozen=True)
class Batch(Uncounted):
    """Rows that are nothing but their keys."""

    keys: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.keys)

    def cut(self, lo: int, hi: int) -> Batch:
        return Batch(self.keys[lo:hi])

    @classmethod
    def join(cls, many: Sequence[Batch]) -> Batch:
        return cls(tuple(key for one in many for key in one.keys))


class KilledError(BaseException):
    """The worker dies; no stage can catch it."""


@dataclass(frozen=True)
class Pass:
    """Rejects the keys in ``bad``, dies of those in ``deadly``, keeps the keys that it lets through."""

    name: str
    bad: frozenset[bytes]
    deadly: frozenset[bytes]
    passed: list[tuple[bytes, ...]] = field(default_factory=list)

    @contextmanager
    def open(self) -> Iterator[Callable[[Any], Split[Batch]]]:
        yield self._run

    def _run(self, batch: Any) -> Split[Batch]:
        if self.deadly.intersection(batch.keys):
            raise KilledError
        kept = Batch(tuple(key for key in batch.keys if key not in self.bad))
        self.passed.append(kept.keys)
        rejected = (Reject(key, self.name, Reason.CORRUPT) for key in batch.keys if key in self.bad)
        return Split(kept, tuple(rejected))


@dataclass
class Airborne:
    """A flight, how many of its hops are done, and what they have left."""

    flight: Flight
    keys: tuple[bytes, ...]
    rows: range | None
    loads: Sequence[Any]
    done: int = 0


@dataclass(eq=False)
class Output:
    """A handle: empty until its flight has landed."""

    value: Any = None


class FaultyCrew:
    """One worker a hop, first come, first served; a worker that dies takes its whole queue with it.

    Up to ``kills`` workers die without a reason while several flights are in the air, one more while
    there is a single one. Rows that have been lost twice must fly alone, and rows of one series must not be
    in two flights of the side leg.
    """

    def __init__(
        self, legs: dict[str, tuple[Hop, ...]], random: Random, kills: int, series: dict[bytes, bytes]
    ) -> None:
        self._series = series  # of each row
        self._hosts = {leg: [Host(hop) for hop in hops] for leg, hops in legs.items()}
        self._queues: dict[tuple[str, int], deque[Airborne]] = {
            (leg, hop): deque() for leg, hops in legs.items() for hop in range(len(hops))
        }
        self._random = random
        self._kills = kills
        self._lone_kills = 1
        self._losses: Counter[tuple[str, bytes]] = Counter()
        self._turns = 0
        self.flown: list[tuple[str, tuple[bytes, ...]]] = []  # the leg and rows of each flight

    def submit(self, leg: str, rows: range | None, loads: Sequence[Any]) -> Flight:
        flight = Flight(leg, len(self._hosts[leg]), Output(), Output())
        batches = [load.value if isinstance(load, Output) else load for load in loads]
        keys = tuple(key for batch in batches for key in batch.keys)
        keys = keys if rows is None else keys[rows.start : rows.stop]
        self._queues[leg, 0].append(Airborne(flight, keys, rows, batches))
        self.flown.append((leg, keys))
        self._check_suspects_are_alone()
        self._check_series_are_apart()
        return flight

    def landed(self, timeout_s: float) -> list[Landing]:
        del timeout_s
        self._turns += 1
        assert self._turns < TURNS, "the pump does not come to an end"
        busy = [place for place, queue in self._queues.items() if queue]
        if not busy or self._random.random() < 0.1:
            return []
        place = self._random.choice(busy)
        return self._die(place) if self._unlucky() else self._step(*place)

    def close(self) -> None:
        raise NotImplementedError

    def _in_the_air(self) -> list[Airborne]:
        return [one for queue in self._queues.values() for one in queue]

    def _check_suspects_are_alone(self) -> None:
        air = self._in_the_air()
        lost = max(self._losses[one.flight.leg, key] for one in air for key in one.keys)
        assert len(air) == 1 or lost < 2, "a flight that was lost twice has company"

    def _check_series_are_apart(self) -> None:
        side = [
            {self._series[key] for key in one.keys} for one in self._in_the_air() if one.flight.leg == "side"
        ]
        assert sum(map(len, side)) == len(set().union(*side)), "a series is delivered twice at a time"

    def _unlucky(self) -> bool:
        flights = len(self._in_the_air())
        if self._random.random() > 0.2:
            return False
        if flights > 1 and self._kills:
            self._kills -= 1
            return True
        if flights == 1 and self._lone_kills:
            self._lone_kills -= 1
            return True
        return False

    def _step(self, leg: str, hop: int) -> list[Landing]:
        one = self._queues[leg, hop][0]
        try:
            output, narrowed, receipt = self._hosts[leg][hop].run(one.rows, *one.loads)
        except KilledError:
            return self._die((leg, hop))
        self._queues[leg, hop].popleft()
        one.done, one.rows, one.loads = hop + 1, None, [output]
        if one.done < one.flight.hops:
            self._queues[leg, one.done].append(one)
        else:
            one.flight.output.value, one.flight.narrowed.value = output, narrowed
        return [Landing(one.flight, hop, receipt)]

    def _die(self, place: tuple[str, int]) -> list[Landing]:
        lost = [Landing(one.flight, place[1], Lost("killed")) for one in self._queues[place]]
        self._losses.update((place[0], key) for one in self._queues[place] for key in one.keys)
        self._queues[place].clear()
        return lost


class Steady(Random):
    """No accident, and always the first choice."""

    def random(self) -> float:
        return 0.5

    def choice(self, seq: Any) -> Any:
        return seq[0]


class PatientReadAhead:
    """Stands in for ``ReadAhead``: no thread, any source's turn, and now and then nothing in time."""

    random: Random

    def __init__(self, *sources: Iterable[Located | Refused]) -> None:
        self._lanes = [iter(source) for source in sources]

    @property
    def exhausted(self) -> bool:
        return not self._lanes

    def next(self, timeout_s: float) -> Located | Refused | None:
        del timeout_s
        if self.exhausted or self.random.random() < 0.2:
            return None
        lane = self.random.choice(self._lanes)
        item = next(lane, None)
        if item is None:
            self._lanes.remove(lane)
        return item

    def stop(self) -> None:
        self._lanes.clear()
