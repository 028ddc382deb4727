"""The engine: a bounded window of flights over a crew, exactly-once accounting, bisection of poison.

The pump never opens a batch. It submits a piece's whole leg at once (refs chained host to host), reads
receipts, and keeps what a retry would need. Admission stops while the window is full, while blocks
queue before the last stage, or while deliveries queue: a slow last stage stops the source.

Bad world: a lost flight is submitted again once. What is lost twice is a suspect and flies alone, so that
it kills no neighbours; a suspect lost alone is halved until the single row that kills its worker is left,
and that row becomes a Reject(POISON).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors.crew import Lost
from pipeline.engine.accounting import Finished, Rejected, Unit
from pipeline.engine.gather import Gather, Share, claim, cut
from pipeline.engine.readahead import ReadAhead
from stages.base import Reason, Reject
from stages.batches import Located, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.crew import Crew, Flight
    from actors.receipts import Receipt
    from pipeline.engine.flow import FlowOptions
    from pipeline.engine.graph import Hops


@dataclass(frozen=True, slots=True)
class Measured:
    """A hop's receipt, told once its whole trip has succeeded."""

    leg: str
    hop: str
    receipt: Receipt


_ALONE = 2  # a trip lost so often flies alone


@dataclass(frozen=True, slots=True)
class Admitted:
    """A piece has entered the stream."""

    piece: Located


Event = Admitted | Measured | Rejected | Finished | Refused


@dataclass
class Trip:
    """Rows lo..hi-1 of some loads on their way through a leg, and whose rows they are."""

    leg: str
    loads: tuple[Any, ...]
    lo: int
    hi: int
    shares: tuple[Share, ...]  # of all rows of the loads, in order
    losses: int = 0

    @property
    def rows(self) -> int:
        """How many rows are on the way; ``hi`` is 0 where all are, of however many loads."""
        return self.hi - self.lo or sum(len(share.keys) for share in self.shares)

    def halves(self) -> tuple[Trip, Trip]:
        """The same rows as two trips."""
        middle = (self.lo + self.hi) // 2
        return (
            Trip(self.leg, self.loads, self.lo, middle, self.shares, _ALONE),
            Trip(self.leg, self.loads, middle, self.hi, self.shares, _ALONE),
        )


class Pump:
    """Drives one source through one crew. ``run`` is the whole life; ``stop`` ends it with a drain."""

    def __init__(self, hops: Hops, crew: Crew, flow: FlowOptions) -> None:
        self._legs = hops.legs()
        self._crew = crew
        self._flow = flow
        self._gather = Gather(flow.block, flow.block_age_s)
        self._air: dict[Flight, tuple[Trip, dict[int, Receipt]]] = {}
        self._again: deque[Trip] = deque()
        self._suspects: deque[Trip] = deque()
        self._groups: dict[bytes, Unit] = {}
        self._bytes_per_row = 0.0
        self._feed: ReadAhead[Located | Refused] | None = None
        self.stopped = False

    def run(self, source: Iterator[Located | Refused]) -> Iterator[Event]:
        """Everything that happens, until the source is exhausted and every unit is finished."""
        self._feed = ReadAhead(source)
        try:
            while not self._idle():
                yield from self._admit()
                self._dispatch()
                wait_s = 0.02 if self._room() and not self._feed.exhausted else 0.2
                for landing in self._crew.landed(wait_s if self._air else 0.0):
                    yield from self._land(landing.flight, landing.hop, landing.news)
        finally:
            self._feed.stop()

    def stop(self) -> None:
        """Begin no further series; what is in flight is finished, flushed and made durable."""
        self.stopped = True

    def queued(self) -> dict[str, int]:
        """Rows between admission and receipt, by hop; and those that wait to fill a block."""
        depth = {hop.name: 0 for hops in self._legs.values() for hop in hops}
        for trip, receipts in self._air.values():
            for number, hop in enumerate(self._legs[trip.leg]):
                depth[hop.name] += trip.rows * (number not in receipts)
        return {**depth, "gather": self._gather.rows}

    def _idle(self) -> bool:
        assert self._feed is not None  # noqa: S101 (run sets it)
        busy = self._air or self._again or self._suspects or self._gather.rows
        return self._feed.exhausted and not busy

    def _rows_in(self, leg: str) -> int:
        return sum(trip.rows for trip, _ in self._air.values() if trip.leg == leg)

    def _trips_in(self, leg: str) -> int:
        return sum(trip.leg == leg for trip, _ in self._air.values())

    def _room(self) -> bool:
        rows = self._rows_in("front")
        return (
            not self._careful()
            and not self._again
            and (rows == 0 or rows * self._bytes_per_row < self._flow.window_bytes)
            and rows < self._flow.window_rows
            and self._trips_in("side") < self._flow.deliveries
            and self._gather.rows < 2 * self._flow.block
        )

    def _careful(self) -> bool:
        """Whether a suspect waits or flies: until it has landed nothing else takes off."""
        return bool(self._suspects) or any(trip.losses >= _ALONE for trip, _ in self._air.values())

    def _admit(self) -> Iterator[Event]:
        assert self._feed is not None  # noqa: S101 (run sets it)
        while self._room():
            if self.stopped and not self._groups:
                self._feed.stop()
                return
            item = self._feed.next(0.0 if self._air else 0.05)
            if item is None:
                return
            if isinstance(item, Refused):
                yield item
                continue
            unit = self._unit(item)
            first = unit.add(item)
            yield Admitted(item)
            self._launch(Trip("front", (item,), 0, len(item), (Share(unit, item.keys, first),)))

    def _unit(self, piece: Located) -> Unit:
        if piece.group is None:
            return Unit(1)
        unit = self._groups.setdefault(piece.group, Unit(piece.parts))
        if len(unit.pieces) + 1 == unit.parts:
            del self._groups[piece.group]
        return unit

    def _dispatch(self) -> None:
        """Send what is due: repeats, then a lone suspect, else full or old blocks."""
        while self._again:
            self._launch(self._again.popleft())
        if self._careful():
            if not self._air:
                self._launch(self._suspects.popleft())
            return
        assert self._feed is not None  # noqa: S101 (run sets it)
        ending = self._feed.exhausted and not self._trips_in("front")
        while self._trips_in("back") < self._flow.blocks and (block := self._gather.due(ending=ending)):
            loads, shares = block
            self._launch(Trip("back", loads, 0, sum(len(share.keys) for share in shares), shares))

    def _launch(self, trip: Trip) -> None:
        flight = self._crew.submit(trip.leg, trip.lo, trip.hi, trip.loads)
        self._air[flight] = (trip, {})

    def _land(self, flight: Flight, hop: int, news: Receipt | Lost) -> Iterator[Event]:
        if flight not in self._air:
            return
        trip, receipts = self._air[flight]
        if isinstance(news, Lost):
            del self._air[flight]
            yield from self._lost(trip, hop)
            return
        receipts[hop] = news
        if len(receipts) < flight.hops:
            return
        del self._air[flight]
        ordered = [receipts[number] for number in range(flight.hops)]
        for number, receipt in enumerate(ordered):
            yield Measured(trip.leg, self._legs[trip.leg][number].name, receipt)
        rejects = tuple(reject for receipt in ordered for reject in receipt.rejects)
        if trip.leg == "front":
            yield from self._passed(trip, flight, ordered, rejects)
        elif trip.leg == "back":
            yield from self._indexed(trip, rejects)
        else:
            yield from self._delivered(trip, rejects)

    def _passed(
        self, trip: Trip, flight: Flight, receipts: list[Receipt], rejects: tuple[Reject, ...]
    ) -> Iterator[Event]:
        rows, kept = trip.hi - trip.lo, receipts[-1].keys
        self._bytes_per_row = max(self._bytes_per_row, sum(r.nbytes for r in receipts) / rows)
        unit, first = trip.shares[0].unit, trip.shares[0].first + trip.lo
        yield from unit.reject(rejects)
        unit.passed += rows
        if kept:
            unit.outputs[first] = flight.output
            unit.kept += kept
            if "back" in self._legs:
                self._gather.add(flight.narrowed, Share(unit, kept))
            else:
                unit.indexed += len(kept)
        yield from self._through(unit)

    def _through(self, unit: Unit) -> Iterator[Event]:
        if unit.through and not unit.delivered:
            outputs = tuple(unit.outputs[first] for first in sorted(unit.outputs))
            unit.outputs.clear()
            if outputs and "side" in self._legs:
                self._launch(Trip("side", outputs, 0, 0, (Share(unit, tuple(unit.kept)),)))
                return
            unit.delivered = True
        if unit.finished:
            yield unit.close()

    def _indexed(self, trip: Trip, rejects: tuple[Reject, ...]) -> Iterator[Event]:
        for share, mine in claim(cut(trip.shares, trip.lo, trip.hi), rejects):
            yield from share.unit.reject(mine)
            share.unit.indexed += len(share.keys) - len(mine)
            if share.unit.finished:
                yield share.unit.close()

    def _delivered(self, trip: Trip, rejects: tuple[Reject, ...]) -> Iterator[Event]:
        unit = trip.shares[0].unit
        yield from unit.reject(rejects, counted=False)
        unit.delivered = True
        if unit.finished:
            yield unit.close()

    def _lost(self, trip: Trip, hop: int) -> Iterator[Event]:
        """Again once, then alone, then in halves; a delivery or a single row has no halves."""
        trip.losses += 1
        halvable = trip.hi - trip.lo > 1
        if trip.losses == 1:
            self._again.append(trip)
        elif trip.losses == _ALONE or (not halvable and trip.losses <= _ALONE + 1):
            self._suspects.append(trip)
        elif halvable:
            self._suspects.extendleft(reversed(trip.halves()))
        else:
            yield from self._poisoned(trip, self._legs[trip.leg][hop].name)

    def _poisoned(self, trip: Trip, hop: str) -> Iterator[Event]:
        if trip.leg == "side":
            detail = "its worker died each time this series was delivered"
            keys = trip.shares[0].keys
            rejects = tuple(Reject(key, hop, Reason.UNDELIVERABLE, detail) for key in keys)
            yield from self._delivered(trip, rejects)
            return
        (share,) = cut(trip.shares, trip.lo, trip.hi)
        detail = "its worker died each time this frame was processed alone"
        yield from share.unit.reject([Reject(share.keys[0], hop, Reason.POISON, detail)])
        if trip.leg == "front":
            share.unit.passed += 1
            yield from self._through(share.unit)
        elif share.unit.finished:
            yield share.unit.close()
