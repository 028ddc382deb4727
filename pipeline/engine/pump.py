"""The pump: a bounded window of flights over a crew, with exactly-once accounting.

The pump never opens a batch. It submits a piece's whole leg at once (refs chained host to host), reads
receipts, and keeps what a retry would need. Admission stops while the window is full, while blocks
queue before the last stage, or while deliveries queue: a slow last stage stops the source.

Bad world: a lost flight goes to ``retries``; the single row that kills its worker becomes a Reject(POISON).

An example with ``block`` = 5: series U has the rows 1 2 3, series V has the rows 4 5 6. Row 2 is damaged, and
row 5 kills the worker that encrypts it.

1. Both series pass the front. Row 2 is rejected there, so U keeps 1 3 and V keeps 4 5 6. Both are delivered.
2. ``Gather`` holds 2 rows, then 5: the block 1 3 4 5 6 is submitted to the back. Its worker dies.
3. ``Retries`` submits the block again, and it is lost again. Now it is a suspect: the pump admits nothing,
   waits until nothing else is in the air, and submits the block alone. It is lost a third time.
4. The block is halved. 1 3 lands: U closes with 2 indexed + 1 rejected = 3 rows. 4 5 6 is lost and halved.
5. 4 lands. 5 6 is lost and halved. 5 is lost, 6 lands, and 5 is lost once more: it becomes Reject(POISON).
   V closes with 2 indexed + 1 rejected = 3 rows. Row 5 cost no other row, and none was indexed twice.

``tests/pipeline/engine/test_pump_faults.py`` runs this example.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from actors.crew import Lost
from pipeline.engine.accounting import Account, Finished, Rejected
from pipeline.engine.gather import Gather, Share, claim
from pipeline.engine.readahead import ReadAhead
from pipeline.engine.retries import Retries, Trip
from pipeline.engine.turns import Turns
from stages.base import Reason, Reject
from stages.batches import Copied, Located, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actors.crew import Crew, Flight
    from actors.receipts import Receipt
    from pipeline.engine.flow import FlowOptions
    from pipeline.engine.graph import Hops


@dataclass(frozen=True, slots=True)
class Measured:
    """A hop's receipt, passed on once its whole trip has succeeded."""

    leg: str
    hop: str
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Admitted:
    """A piece has entered the stream."""

    piece: Located


@dataclass(frozen=True, slots=True)
class Waited:
    """Nothing is in flight and the sources have nothing yet: a moment to show progress."""


Item = Located | Refused | Copied
Event = Waited | Admitted | Measured | Rejected | Finished | Refused | Copied


class Pump:
    """Drives sources through one crew. ``run`` is the whole life; ``stop`` ends it with a drain."""

    def __init__(self, hops: Hops, crew: Crew, flow: FlowOptions) -> None:
        self._legs = hops.legs()
        self._crew = crew
        self._flow = flow
        self._gather = Gather(flow.block, flow.block_age_s)
        self._air: dict[Flight, tuple[Trip, dict[int, Receipt]]] = {}
        self._retries = Retries()
        self._turns = Turns(hops.apart)
        self._numbers = count()
        self._groups: dict[tuple[int, bytes], Account] = {}  # of each source
        self._bytes_per_row = 0.0
        self._ahead: ReadAhead[tuple[int, Item]] | None = None
        self.stopped = False

    def run(self, *sources: Iterable[Item]) -> Iterator[Event]:
        """Everything that happens, until the sources are exhausted and every unit is finished.

        Sources take turns; the pieces of one series come from one source, in order.
        """
        self._ahead = ReadAhead(*(_numbered(number, source) for number, source in enumerate(sources)))
        try:
            while not self._idle():
                yield from self._admit()
                self._dispatch()
                wait_s = 0.02 if self._room() and not self._ahead.exhausted else 0.2
                for landing in self._crew.landed(wait_s if self._air else 0.0):
                    yield from self._land(landing.flight, landing.hop, landing.news)
                if not self._air:
                    yield Waited()
        finally:
            self._ahead.stop()

    def stop(self) -> None:
        """Begin no further series; what is in flight is finished, flushed and made durable."""
        self.stopped = True

    def queued(self) -> dict[str, int]:
        """Rows between admission and receipt, by hop; and those that wait to fill a block."""
        depth = {hop.name: 0 for hops in self._legs.values() for hop in hops}
        for trip, receipts in self._air.values():
            for number, hop in enumerate(self._legs[trip.leg]):
                depth[hop.name] += trip.count * (number not in receipts)
        return {**depth, "gather": self._gather.rows}

    def _idle(self) -> bool:
        assert self._ahead is not None  # noqa: S101 (run sets it)
        busy = self._air or self._retries or self._gather.rows
        return self._ahead.exhausted and not busy

    def _rows_in(self, leg: str) -> int:
        return sum(trip.count for trip, _ in self._air.values() if trip.leg == leg)

    def _trips_in(self, leg: str) -> int:
        return sum(trip.leg == leg for trip, _ in self._air.values())

    def _room(self) -> bool:
        rows = self._rows_in("front")
        return (
            not self._careful()
            and not self._retries
            and (rows == 0 or rows * self._bytes_per_row < self._flow.window_bytes)
            and rows < self._flow.window_rows
            and self._trips_in("side") + self._turns.held < self._flow.deliveries
            and self._gather.rows < 2 * self._flow.block
        )

    def _careful(self) -> bool:
        """Whether a suspect waits or flies: until it has landed nothing else takes off."""
        return self._retries.suspects or any(trip.suspect for trip, _ in self._air.values())

    def _admit(self) -> Iterator[Event]:
        assert self._ahead is not None  # noqa: S101 (run sets it)
        while self._room():
            if self.stopped and not self._groups:
                self._ahead.stop()
                return
            taken = self._ahead.next(0.0 if self._air else 0.05)
            if taken is None:
                return
            source, item = taken
            if self.stopped and not self._begun(source, item):
                continue  # left for a resumed run
            if not isinstance(item, Located):
                yield item
                continue
            unit = self._unit(source, item)
            first = unit.add(item)
            if len(unit.pieces) == unit.parts:
                self._turns.enter(unit)
            yield Admitted(item)
            self._launch(Trip("front", (item,), range(len(item)), (Share(unit, item.keys, first),)))

    def _begun(self, source: int, item: Item) -> bool:
        """Whether this is a further piece of a series that has entered the stream."""
        return isinstance(item, Located) and item.group is not None and (source, item.group) in self._groups

    def _unit(self, source: int, piece: Located) -> Account:
        if piece.group is None:
            return Account(1, next(self._numbers))
        group = (source, piece.group)
        unit = self._groups.get(group) or Account(piece.parts, next(self._numbers))
        self._groups[group] = unit
        if len(unit.pieces) + 1 == unit.parts:
            del self._groups[group]
        return unit

    def _dispatch(self) -> None:
        """Send what is due: repeats, then a lone suspect, else full or old blocks."""
        for trip in self._retries.again():
            self._launch(trip)
        if self._careful():
            if not self._air:
                self._launch(self._retries.alone())
            return
        assert self._ahead is not None  # noqa: S101 (run sets it)
        ending = self._ahead.exhausted and not self._trips_in("front")
        while self._trips_in("back") < self._flow.blocks and (block := self._gather.due(ending=ending)):
            loads, shares = block
            rows = range(sum(len(share.keys) for share in shares))
            self._launch(Trip("back", loads, rows, shares))

    def _launch(self, trip: Trip) -> None:
        flight = self._crew.submit(trip.leg, trip.rows, trip.loads)
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
        (share,), kept = trip.shares, receipts[-1].keys
        unit, rows = share.unit, len(share.keys)
        self._bytes_per_row = max(self._bytes_per_row, sum(r.nbytes for r in receipts) / rows)
        yield from unit.reject(rejects)
        unit.passed += rows
        if kept:
            unit.outputs[share.first] = flight.output
            unit.kept += kept
            if "back" in self._legs:
                self._gather.add(flight.narrowed, Share(unit, kept))
            else:
                unit.indexed += len(kept)
        yield from self._forward(unit)

    def _forward(self, unit: Account) -> Iterator[Event]:
        """Deliver the unit and close it, as far as it is due and its turn; then those that waited for it."""
        due = deque([unit])
        while due:
            one = due.popleft()
            before = (one.delivered, one.closed)
            if self._turns.may_deliver(one):
                self._deliver(one)
            if self._turns.may_close(one):
                yield one.close()
            if one is unit or before != (one.delivered, one.closed):
                due.extend(one.followers)

    def _deliver(self, unit: Account) -> None:
        outputs = tuple(unit.outputs[first] for first in sorted(unit.outputs))
        unit.outputs.clear()
        if outputs and "side" in self._legs:
            self._launch(Trip("side", outputs, None, (Share(unit, tuple(unit.kept)),)))
        else:
            unit.delivered = True

    def _indexed(self, trip: Trip, rejects: tuple[Reject, ...]) -> Iterator[Event]:
        for share, mine in claim(trip.shares, rejects):
            yield from share.unit.reject(mine)
            share.unit.indexed += len(share.keys) - len(mine)
            yield from self._forward(share.unit)

    def _delivered(self, trip: Trip, rejects: tuple[Reject, ...]) -> Iterator[Event]:
        unit = trip.shares[0].unit
        yield from unit.reject(rejects, counted=False)
        unit.delivered = True
        yield from self._forward(unit)

    def _lost(self, trip: Trip, hop: int) -> Iterator[Event]:
        if not self._retries.lost(trip):
            yield from self._poisoned(trip, self._legs[trip.leg][hop].name)

    def _poisoned(self, trip: Trip, hop: str) -> Iterator[Event]:
        if trip.leg == "side":
            detail = "Its worker died each time this series was delivered."
            keys = trip.shares[0].keys
            rejects = tuple(Reject(key, hop, Reason.UNDELIVERABLE, detail) for key in keys)
            yield from self._delivered(trip, rejects)
            return
        (share,) = trip.shares
        detail = "Its worker died each time this frame was processed alone."
        yield from share.unit.reject([Reject(share.keys[0], hop, Reason.POISON, detail)])
        share.unit.passed += trip.leg == "front"
        yield from self._forward(share.unit)


def _numbered(number: int, source: Iterable[Item]) -> Iterator[tuple[int, Item]]:
    """Each item with its source, whose groups are its own."""
    for item in source:
        yield number, item
