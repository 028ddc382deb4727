"""The engine's promises, each on threads and on Ray."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors import crew
from actors.crew import StageFailed, manned
from actors.thread_crew import ThreadCrew
from pipeline.engine.accounting import Finished
from pipeline.engine.flow import FlowOptions
from pipeline.engine.graph import Graph
from pipeline.engine.pump import Admitted, Measured, Pump, Waited
from stages.base import Reason
from stages.batches import Copied, Located, Refused
from tests.pipeline.conftest import Execute
from tests.pipeline.toys import (
    Apart,
    Bulky,
    Closing,
    Deliver,
    Double,
    Log,
    Numbers,
    Read,
    graph,
    key_of,
    piece,
    same,
)


def pieces(count: int, rows: int = 4) -> list:
    return [piece(range(start * rows, (start + 1) * rows)) for start in range(count)]


def logged(folder: Path) -> list[int]:
    return [int(line, 16) for line in (folder / "log").read_text().split()]


def delivered(folder: Path) -> list[list[int]]:
    return [[int(n) for n in line.split()] for line in (folder / "delivered").read_text().splitlines()]


def test_every_row_is_indexed_once(execute: Execute, tmp_path: Path) -> None:
    """What goes in comes out, once, and every unit is finished."""
    outcome = execute(graph(tmp_path), pieces(25))
    assert outcome.kept == 100
    assert sorted(logged(tmp_path)) == list(range(100))
    assert set(outcome.finished_keys.values()) == {1}


def test_an_empty_source_ends(execute: Execute, tmp_path: Path) -> None:
    """No input is no error."""
    assert execute(graph(tmp_path), []).finished == []


def test_rejects_are_accounted_at_every_stage(execute: Execute, tmp_path: Path) -> None:
    """Kept and rejected add up, and a reject knows the place it came from."""
    stream = graph(tmp_path, Read(bad=frozenset({3, 5})), Double(bad=frozenset({6})))
    outcome = execute(stream, pieces(5))
    assert outcome.kept == 17
    assert {letter.place.path for letter in outcome.rejected} == {"file-3", "file-5", "file-6"}
    assert sum(unit.rejected for unit in outcome.finished) == 3


def test_a_piece_without_a_good_row_finishes(execute: Execute, tmp_path: Path) -> None:
    """A batch whose rows are all rejected passes as nothing and is finished."""
    outcome = execute(graph(tmp_path, Read(bad=frozenset(range(4)))), pieces(2))
    assert (outcome.kept, len(outcome.rejected)) == (4, 4)
    assert len(outcome.finished) == 2


def test_refused_files_pass_through(execute: Execute, tmp_path: Path) -> None:
    """What the source could not open is told, beside the stream."""
    refused = Refused("broken", key_of(99), Reason.EMPTY, "zero bytes")
    outcome = execute(graph(tmp_path), [*pieces(1), refused])
    assert outcome.refused == [refused]


def test_copies_pass_through(execute: Execute, tmp_path: Path) -> None:
    """They are counted by whoever keeps the books, and are no work."""
    outcome = execute(graph(tmp_path), [*pieces(1), Copied("again", 3)])
    assert (outcome.copied, outcome.kept) == ([Copied("again", 3)], 4)


def test_a_source_that_is_slow_in_coming_leaves_moments_to_show_progress(
    execute: Execute, tmp_path: Path
) -> None:
    """A scan of hours yields nothing until its end; the run is heard of all the same."""
    seen = threading.Event()

    def scanning() -> Iterator[Located]:
        assert seen.wait(60)
        yield from pieces(1)

    outcome = execute(
        graph(tmp_path), scanning(), on_event=lambda event, _: seen.set() if event == Waited() else None
    )
    assert outcome.kept == 4


def test_a_cut_series_is_delivered_whole(execute: Execute, tmp_path: Path) -> None:
    """All pieces of a series reach delivery in one call, in order; other series in their own."""
    cut = [piece(range(start, start + 4), group=key_of(7), parts=3) for start in (0, 4, 8)]
    outcome = execute(graph(tmp_path), [*cut, piece(range(20, 24))])
    assert sorted(delivered(tmp_path)) == [list(range(12)), list(range(20, 24))]
    assert sorted(len(unit.pieces) for unit in outcome.finished) == [1, 3]


def test_deliveries_with_a_name_in_common_follow_each_other(execute: Execute, tmp_path: Path) -> None:
    """As they came, however fast the front is with each, by however many deliverers; others pass."""
    work = [piece([1, 2]), piece([3, 201]), piece([1, 3]), piece([202, 4]), piece([301]), piece([2, 203])]
    flow = FlowOptions(hops=(), replicas={"read": 3, "deliver": 3}, deliveries=3, block_age_s=0.05)
    front = Read(slow=frozenset({1, 201}))
    outcome = execute(graph(tmp_path, front, deliver=Apart(tmp_path / "delivered")), work, flow)
    calls = delivered(tmp_path)
    assert [call for call in calls if call != [301]] == [[1, 2], [3, 201], [1, 3], [202, 4], [2, 203]]
    assert calls.index([301]) < 4
    numbers = [[int.from_bytes(key, "big") for key in unit.pieces[0].keys] for unit in outcome.finished]
    assert [one for one in numbers if one != [301]] == [call for call in calls if call != [301]]


def test_sources_that_hold_the_same_cut_series_are_not_mixed(tmp_path: Path) -> None:
    """A group is of its source: each series is delivered with the pieces of one, one after another."""
    cut = [[piece([n, n + 1], group=key_of(7), parts=2) for n in (1, 3)] for _ in range(2)]
    hops = graph(tmp_path, deliver=Apart(tmp_path / "delivered")).hops((), {"deliver": 2})
    with manned(ThreadCrew(hops.legs())) as crew:
        events = list(Pump(hops, crew, FlowOptions(hops=())).run(*cut))
    assert delivered(tmp_path) == [[1, 2, 3, 4]] * 2
    assert [unit.pieces for unit in events if isinstance(unit, Finished)] == [tuple(one) for one in cut]


def test_blocks_fill_to_their_bound(execute: Execute, tmp_path: Path) -> None:
    """Rows are regrouped by count; the last block takes what is left."""
    flow = FlowOptions(hops=(), block=16)
    outcome = execute(graph(tmp_path), pieces(10), flow)
    blocks = [event.receipt.laps[0].rows for event in outcome.measured if event.leg == "back"]
    assert max(blocks) <= 16
    assert sum(blocks) == 40
    assert len(blocks) == 3


def test_an_old_block_is_flushed_while_the_source_is_slow(execute: Execute, tmp_path: Path) -> None:
    """A slow source does not keep rows from becoming durable."""
    moments: list[tuple[str, float]] = []

    def slow():  # noqa: ANN202
        yield piece(range(4))
        time.sleep(1.5)
        moments.append(("second", time.monotonic()))
        yield piece(range(4, 8))

    def note(event: object, _crew: object) -> None:
        if isinstance(event, Measured) and event.leg == "back":
            moments.append(("block", time.monotonic()))

    execute(graph(tmp_path), slow(), FlowOptions(hops=(), block_age_s=0.2), note)
    assert [name for name, _ in moments] == ["block", "second", "block"]


def test_fused_hops_do_the_same(execute: Execute, tmp_path: Path) -> None:
    """What is fused is configuration, never semantics."""
    outcome = execute(graph(tmp_path), pieces(5), FlowOptions(hops=("read+double", "log")))
    assert outcome.kept == 20
    assert {event.hop for event in outcome.measured} == {"read+double", "log", "deliver"}


def test_replicas_share_the_work(execute: Execute, tmp_path: Path) -> None:
    """Two replicas index every row once."""
    flow = FlowOptions(hops=(), replicas={"read": 2, "double": 2})
    assert execute(graph(tmp_path, Read(seconds=0.01)), pieces(12), flow).kept == 48


def test_a_slow_last_stage_stops_the_source(execute: Execute, tmp_path: Path) -> None:
    """The source is never more than the window, two blocks and the read-ahead before the log."""
    flow = FlowOptions(hops=(), window_rows=16, block=8, blocks=1)
    taken = indexed = most = 0

    def source():  # noqa: ANN202
        nonlocal taken
        for part in pieces(60):
            taken += len(part)
            yield part

    def note(event: object, _crew: object) -> None:
        nonlocal indexed, most
        if isinstance(event, Measured) and event.leg == "back":
            most = max(most, taken - indexed)
            indexed += event.receipt.laps[0].rows

    execute(graph(tmp_path, log=Log(tmp_path / "log", seconds=0.03)), source(), flow, note)
    assert indexed == 240
    assert most <= 16 + 4 + 2 * 8 + 8 + 6 * 4


@pytest.mark.parametrize(("rows", "most"), [(2, 10), (20, 20)])
def test_bytes_in_flight_are_bounded(execute: Execute, tmp_path: Path, rows: int, most: int) -> None:
    """Frames of 100 kB fill a window of 1 MB once their size is known; a piece that is larger flies alone."""
    measured, flying, highest = threading.Event(), 0, 0

    def source():  # noqa: ANN202
        first, *others = pieces(15, rows)
        yield first
        assert measured.wait(60)
        yield from others

    def note(event: object, _crew: object) -> None:
        nonlocal flying, highest
        if isinstance(event, Admitted):
            flying += len(event.piece)
            highest = max(highest, flying)
        elif isinstance(event, Measured) and event.hop == "double":
            flying -= event.receipt.laps[0].rows
            measured.set()

    front = Graph.of(Bulky(100_000, seconds=0.05)).then(Double())
    stream = front.gather(narrow=same, join=Numbers.join).then(Log(tmp_path / "log"))
    outcome = execute(stream, source(), FlowOptions(hops=(), window_bytes=1_000_000), note)
    assert outcome.kept == 15 * rows
    assert highest == most


def test_a_bug_ends_the_run_loudly(execute: Execute, tmp_path: Path) -> None:
    """A stage that raises is named with its exception."""
    with pytest.raises(StageFailed, match="ZeroDivisionError: a bug in double"):
        execute(graph(tmp_path, double=Double(bug=True)), pieces(2))


def test_a_stage_that_closes_slowly_is_waited_for(
    execute: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However long that takes, and it is said who is waited for."""
    monkeypatch.setattr(crew, "CLOSING_S", 0.3)
    execute(graph(tmp_path, log=Closing(tmp_path / "log", closing_s=1.0)), [piece(range(4))])
    assert (tmp_path / "log").read_text().endswith("closed\n")
    assert "not finished yet: log" in caplog.text


def test_a_stage_that_cannot_be_closed_ends_the_run(execute: Execute, tmp_path: Path) -> None:
    """What it had to write last is not there: as loud as if it had failed earlier."""
    closing = Closing(tmp_path / "log", full=True)
    with pytest.raises(StageFailed, match=r"^log: OSError: \[Errno 28\] No space left on device$"):
        execute(graph(tmp_path, log=closing), [piece(range(4))])


def test_the_first_failure_is_the_one_that_is_raised(
    execute: Execute, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The one at close is told beside it."""
    failing = graph(tmp_path, double=Double(bug=True), log=Closing(tmp_path / "log", full=True))
    with pytest.raises(StageFailed, match="ZeroDivisionError: a bug in double"):
        execute(failing, [piece(range(4))])
    assert "could not be closed: log: OSError" in caplog.text


def test_a_source_that_fails_ends_the_run(execute: Execute, tmp_path: Path) -> None:
    """An exception of the source is raised to the caller."""

    def source():  # noqa: ANN202
        yield piece(range(4))
        raise PermissionError("the folder is gone")

    with pytest.raises(PermissionError, match="folder is gone"):
        execute(graph(tmp_path), source())


def processes(crew: object, leg: str, hop: int) -> list[int]:
    import ray  # noqa: PLC0415 (only where Ray runs)

    @ray.remote
    def nothing() -> None: ...

    pool = crew._pools[leg][hop]
    return [ray.get(replica.actor.run.options(num_returns=3).remote(None)[2]).pid for replica in pool]


@pytest.mark.cluster
@pytest.mark.parametrize(("leg", "hop"), [("front", 0), ("front", 1), ("back", 0), ("side", 0)])
@pytest.mark.parametrize("engine", ["ray"], indirect=True)
def test_kill_9_of_any_worker_loses_and_repeats_nothing(
    execute: Execute, tmp_path: Path, leg: str, hop: int
) -> None:
    """A worker killed in mid-stream is restarted; every row is indexed exactly once."""
    killed: list[int] = []

    def kill_once(event: object, crew: object) -> None:
        if isinstance(event, Measured) and event.leg == "back" and not killed:
            killed.extend(processes(crew, leg, hop))
            os.kill(killed[0], signal.SIGKILL)

    stream = graph(tmp_path, Read(seconds=0.02), log=Log(tmp_path / "log", seconds=0.02))
    outcome = execute(stream, pieces(60), FlowOptions(hops=(), block=16, window_rows=32), kill_once)
    assert killed
    assert outcome.kept == 240
    assert Counter(logged(tmp_path)) == Counter(range(240))
    assert {number for call in delivered(tmp_path) for number in call} == set(range(240))


@pytest.mark.cluster
@pytest.mark.parametrize("engine", ["ray"], indirect=True)
def test_a_poison_row_is_isolated(execute: Execute, tmp_path: Path) -> None:
    """The one row that kills its worker becomes a reject; its neighbours are indexed."""
    outcome = execute(graph(tmp_path, Read(deadly=frozenset({9}))), pieces(6))
    assert [(letter.reject.key, letter.reject.reason) for letter in outcome.rejected] == [
        (key_of(9), Reason.POISON)
    ]
    assert sorted(logged(tmp_path)) == [n for n in range(24) if n != 9]
    assert outcome.kept == 23


@pytest.mark.cluster
@pytest.mark.parametrize("engine", ["ray"], indirect=True)
def test_a_device_error_costs_its_worker_not_the_run(execute: Execute, tmp_path: Path) -> None:
    """The process that it leaves useless dies; the row that does it each time is found."""
    stream = graph(tmp_path, double=Double(device=frozenset({9})))
    outcome = execute(stream, pieces(6))
    assert [(letter.reject.key, letter.reject.reason) for letter in outcome.rejected] == [
        (key_of(9), Reason.POISON)
    ]
    assert sorted(logged(tmp_path)) == [n for n in range(24) if n != 9]


@pytest.mark.parametrize("engine", ["local"], indirect=True)
def test_a_device_error_among_threads_ends_the_run(execute: Execute, tmp_path: Path) -> None:
    """They share the process that it leaves useless, so there is nothing to repeat in."""
    with pytest.raises(StageFailed, match="double: RuntimeError: CUDA error"):
        execute(graph(tmp_path, double=Double(device=frozenset({9}))), pieces(6))


@pytest.mark.cluster
@pytest.mark.parametrize("engine", ["ray"], indirect=True)
def test_a_deadly_delivery_is_told_and_the_rows_stay_indexed(execute: Execute, tmp_path: Path) -> None:
    """A series that kills its delivery is undeliverable; nothing of it is lost from the index."""
    stream = graph(tmp_path, deliver=Deliver(tmp_path / "delivered", deadly=frozenset({5})))
    outcome = execute(stream, pieces(4))
    assert {letter.reject.reason for letter in outcome.rejected} == {Reason.UNDELIVERABLE}
    assert not any(letter.counted for letter in outcome.rejected)
    assert outcome.kept == 16


@pytest.mark.cluster
@pytest.mark.parametrize("engine", ["ray"], indirect=True)
def test_a_worker_that_dies_while_it_closes_is_closed_again(execute: Execute, tmp_path: Path) -> None:
    """Its successor takes over what was left, and closes in order."""
    execute(graph(tmp_path, log=Closing(tmp_path / "log", deadly=True)), [piece(range(4))])
    assert (tmp_path / "log.died").exists()
    assert (tmp_path / "log").read_text().endswith("closed\n")
