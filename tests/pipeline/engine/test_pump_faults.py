"""The pump under every fault a crew can have, on a deterministic crew of one thread."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.engine import pump as engine
from pipeline.engine.accounting import Finished, Rejected
from pipeline.engine.flow import FlowOptions
from pipeline.engine.graph import Graph
from pipeline.engine.pump import Admitted, Event, Pump
from stages.base import Reason, Reject
from stages.batches import Located, Refused
from tests.pipeline.engine.faulty import Batch, FaultyCrew, Pass, PatientReadAhead, Steady
from tests.pipeline.toys import key_of, piece


@dataclass(frozen=True)
class World:
    """One example: what comes in, which rows are bad, which are deadly, and how the stream flows."""

    sources: tuple[tuple[Located | Refused, ...], ...]
    bad: dict[str, frozenset[bytes]]
    deadly: dict[str, frozenset[bytes]]
    flow: FlowOptions
    side: bool
    kills: int
    seed: int
    stop_after: int | None = None


STAGES = ("read", "double", "deliver", "send", "seal", "log")
LEG_OF = {
    "read": "front", "double": "front", "deliver": "side", "send": "side", "seal": "back", "log": "back"
}  # fmt: skip


@st.composite
def worlds(draw: st.DrawFn, *, stopping: bool = False) -> World:
    """Up to eight pieces and cut series of up to eight rows a piece, with up to six bad or deadly rows.

    They come from up to three sources; some are of one series.
    """
    sources: list[list[Located | Refused]] = [[] for _ in range(draw(st.integers(1, 3)))]
    at = 0
    for number, sizes in enumerate(
        draw(st.lists(st.lists(st.integers(0, 8), min_size=1, max_size=3), max_size=8))
    ):
        items = draw(st.sampled_from(sources))
        pieces = [size for size in sizes if size]
        series = key_of(10**6 + draw(st.sampled_from([0, 1, 10 + number])))
        for size in pieces:
            group = key_of(10**7 + number) if len(pieces) > 1 else None
            made = piece(range(at, at + size), group, len(pieces))
            items.append(replace(made, series=(series,) * size))
            at += size
        if not pieces:
            items.append(Refused(f"refused-{number}", key_of(10**8 + number), Reason.EMPTY, "zero bytes"))
    fault = st.tuples(st.integers(0, max(at - 1, 0)).map(key_of), st.booleans(), st.sampled_from(STAGES))
    faults = draw(st.lists(fault, max_size=6))
    return World(
        tuple(map(tuple, sources)),
        {name: frozenset(key for key, kills, at in faults if at == name and not kills) for name in STAGES},
        {name: frozenset(key for key, kills, at in faults if at == name and kills) for name in STAGES},
        FlowOptions(
            window_rows=draw(st.sampled_from([1, 8, 24])),
            block=draw(st.sampled_from([8, 11, 32])),
            block_age_s=draw(st.sampled_from([1e-9, 1e9])),
            blocks=draw(st.sampled_from([1, 2])),
            deliveries=draw(st.sampled_from([1, 3])),
            hops=draw(st.sampled_from([(), ("read+double", "seal+log")])),
        ),
        draw(st.booleans()),
        draw(st.integers(0, 12)),
        draw(st.integers(0, 2**32)),
        draw(st.integers(0, 40)) if stopping else None,
    )


@dataclass
class History:
    """All that a run has said, and what its stages have seen."""

    world: World
    events: list[Event]
    stages: dict[str, Pass]
    crew: FaultyCrew

    def all(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def rejects(self, *, counted: bool = True) -> list[Reject]:
        return [one.reject for one in self.all(Rejected) if one.counted is counted]

    @property
    def admitted(self) -> list[bytes]:
        return [key for event in self.all(Admitted) for key in event.piece.keys]

    @property
    def indexed(self) -> Counter[bytes]:
        return Counter(key for keys in self.stages["log"].passed for key in keys)


def run(world: World, monkeypatch: pytest.MonkeyPatch, steady: Random | None = None) -> History:
    random = steady or Random(world.seed)  # noqa: S311 (a test's choices)
    stages = {name: Pass(name, world.bad[name], world.deadly[name]) for name in STAGES}
    graph = Graph.of(stages["read"]).then(stages["double"])
    if world.side:
        side = Graph.of(stages["deliver"]).then(stages["send"])
        graph = graph.beside(side, join=Batch.join, apart=lambda piece: set(piece.series))
    graph = graph.gather(narrow=lambda batch: batch, join=Batch.join)
    hops = graph.then(stages["seal"]).then(stages["log"]).hops(world.flow.hops, {})
    monkeypatch.setattr(engine, "ReadAhead", PatientReadAhead)
    monkeypatch.setattr(PatientReadAhead, "random", random, raising=False)
    located = [item for items in world.sources for item in items if isinstance(item, Located)]
    series = {key: name for item in located for key, name in zip(item.keys, item.series, strict=True)}
    crew = FaultyCrew(hops.legs(), random, world.kills, series)
    pump = Pump(hops, crew, world.flow)
    history = History(world, [], stages, crew)
    for number, event in enumerate(pump.run(*world.sources)):
        history.events.append(event)
        if number == world.stop_after:
            pump.stop()
    return history


def every_row_ends_once(history: History) -> None:
    """A row is indexed or rejected, never both, neither of them twice."""
    rejected = Counter(reject.key for reject in history.rejects())
    assert history.indexed + rejected == Counter(history.admitted)


def only_what_kills_is_poison(history: History) -> None:
    """A neighbour of a deadly row is never blamed; a bad row is rejected where it is bad."""
    for reject in history.rejects():
        names = reject.stage.split("+")
        if reject.reason is Reason.POISON:
            leg = LEG_OF[names[0]]
            assert any(reject.key in history.world.deadly[name] for name in STAGES if LEG_OF[name] == leg)
        else:
            assert any(reject.key in history.world.bad[name] for name in names)


def every_unit_finishes_once(history: History) -> None:
    """One last word for each piece or whole cut series, whose counts are those of its rows."""
    finished: list[Finished] = history.all(Finished)
    assert Counter(part for unit in finished for part in unit.pieces) == Counter(
        event.piece for event in history.all(Admitted)
    )
    rejected = {reject.key for reject in history.rejects()}
    for unit in finished:
        keys = {key for part in unit.pieces for key in part.keys}
        assert len(unit.pieces) == unit.pieces[0].parts
        assert unit.rejected == len(keys & rejected)
        assert unit.kept == len(keys - rejected)


def a_finished_unit_is_not_mentioned_again(history: History) -> None:
    """Once the ledger has heard of a unit, no letter of its rows follows."""
    done: set[bytes] = set()
    for event in history.events:
        if isinstance(event, Finished):
            done |= {key for part in event.pieces for key in part.keys}
        elif isinstance(event, Rejected):
            assert event.reject.key not in done


def a_series_is_delivered_whole(history: History) -> None:
    """Each unit's rows pass the side leg in one call, in order; those of a deadly one are undeliverable."""
    front = {reject.key for reject in history.rejects() if LEG_OF[reject.stage.split("+")[0]] == "front"}
    bad, deadly = history.world.bad, history.world.deadly
    calls, lost = Counter[tuple[bytes, ...]](), Counter[bytes]()
    for unit in history.all(Finished) if history.world.side else ():
        rows = tuple(key for part in unit.pieces for key in part.keys if key not in front)
        made = tuple(key for key in rows if key not in bad["deliver"])
        killed = deadly["deliver"].intersection(rows) or deadly["send"].intersection(made)
        sent = () if killed else tuple(key for key in made if key not in bad["send"])
        lost.update(set(rows) - set(sent))
        if made and not killed:
            calls[sent] += 1
    assert Counter(history.stages["send"].passed) == calls
    assert Counter(reject.key for reject in history.rejects(counted=False)) == lost


def units_of_one_series_finish_as_they_came(history: History) -> None:
    """As the last piece of each was admitted."""
    if not history.world.side:
        return
    came: dict[bytes, list[bytes]] = {}
    left: Counter[bytes | None] = Counter()
    for event in history.all(Admitted):
        left[event.piece.group] += 1
        if event.piece.group is None or left[event.piece.group] == event.piece.parts:
            came.setdefault(event.piece.series[0], []).append(event.piece.keys[-1])
    for series, last in came.items():
        units = [unit.pieces[-1] for unit in history.all(Finished) if unit.pieces[0].series[0] == series]
        assert [one.keys[-1] for one in units] == last


def no_series_begins_after_the_stop(history: History) -> None:
    """Only pieces that complete a cut series are admitted any more."""
    assert history.world.stop_after is not None
    before, after = (
        history.events[: history.world.stop_after + 1],
        history.events[history.world.stop_after + 1 :],
    )
    begun = {event.piece.group for event in before if isinstance(event, Admitted)} - {None}
    late = [event.piece.group for event in after if isinstance(event, Admitted)]
    assert begun.issuperset(late)


PROMISES = (
    every_row_ends_once,
    only_what_kills_is_poison,
    every_unit_finishes_once,
    a_finished_unit_is_not_mentioned_again,
    a_series_is_delivered_whole,
    units_of_one_series_finish_as_they_came,
)
many = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.slow
@many
@given(world=worlds())
def test_the_books_come_out_whatever_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost flights, deadly and bad rows in every stage: all comes in, every promise holds, the run ends."""
    history = run(world, monkeypatch)
    came = [event.piece if isinstance(event, Admitted) else event for event in history.events
            if isinstance(event, Admitted | Refused)]  # fmt: skip
    for source in world.sources:
        assert [item for item in came if item in source] == list(source)
    assert len(came) == sum(map(len, world.sources))
    for promise in PROMISES:
        promise(history)


@settings(many, max_examples=150)
@given(world=worlds(stopping=True))
def test_the_books_come_out_after_a_stop(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was admitted is finished, a cut series with all its pieces; no further series is begun."""
    history = run(world, monkeypatch)
    for promise in (*PROMISES, no_series_begins_after_the_stop):
        promise(history)


def test_the_example_of_the_pump_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the docstring of ``pump`` walks through: its flights, its rejects and its sums."""
    sources = (
        tuple(replace(piece(rows), series=(key_of(99 + rows[0]),) * 3) for rows in [(1, 2, 3), (4, 5, 6)]),
    )
    nothing: dict[str, frozenset[bytes]] = dict.fromkeys(STAGES, frozenset())
    bad, deadly = {**nothing, "read": frozenset({key_of(2)})}, {**nothing, "seal": frozenset({key_of(5)})}
    flow = FlowOptions(block=5, block_age_s=1e9, hops=())
    history = run(World(sources, bad, deadly, flow, side=True, kills=0, seed=0), monkeypatch, Steady())
    numbers = {key_of(number): number for number in range(7)}
    blocks = [[numbers[key] for key in keys] for leg, keys in history.crew.flown if leg == "back"]
    whole, poison = [1, 3, 4, 5, 6], [5]
    assert blocks == [whole, whole, whole, [1, 3], [4, 5, 6], [4], [5, 6], poison, [6], poison]
    rejects = [(numbers[one.key], one.reason) for one in history.rejects()]
    assert rejects == [(2, Reason.CORRUPT), (5, Reason.POISON)]
    assert [(unit.kept, unit.rejected) for unit in history.all(Finished)] == [(2, 1), (2, 1)]
    assert set(history.indexed.values()) == {1}
