"""One run of the stream: checked before it starts, recorded while it runs, verified at its end."""

from __future__ import annotations

import json
import signal
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from actors.crew import manned
from actors.thread_crew import ThreadCrew
from pipeline.devices import devices, gpus_for
from pipeline.engine.graph import GraphError
from pipeline.engine.pump import Pump
from pipeline.engine.shares import shared
from pipeline.run.books import Books, Watcher
from pipeline.run.intake import opened
from pipeline.run.job import Job, JobError
from pipeline.run.preflight import check, exists
from pipeline.run.summary import Skipped
from pipeline.stream import stream
from stages.files import write_whole
from stages.index.reader import open_reader
from stages.index.session import open_writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

    from actors.crew import Crew
    from pipeline.config import Settings
    from pipeline.engine.graph import Hops
    from pipeline.run.summary import Summary


def run(job: Job, watcher: Watcher | None = None) -> Summary:
    """Stream all sources; the summary is also written as ``summary.json`` in the results folder.

    Raises JobError and DeviceError before any stage opens, SessionError and StageFailed where the engine
    fails, also where a stage cannot be closed in order: what it still had to write may be missing.
    SIGINT and SIGTERM drain the stream; a second one interrupts it.
    """
    check(job)
    _take_in(job)
    before = index_size(job.index)
    with ExitStack() as stack:
        books = stack.enter_context(Books(job, before))
        gpus = stack.enter_context(_compute(job.settings))
        hops = _hops(job, gpus)
        crew = stack.enter_context(manned(_crew(job.settings, hops)))
        pump = Pump(hops, crew, job.settings.flow)
        stack.enter_context(_drained_by_signals(pump))
        intake = stack.enter_context(opened(job))
        books.tally.start()
        for event in pump.run(*intake.streams()):
            for unit in books.book(event):
                intake.finished(unit)
            if books.due():
                books.tally.scanned = intake.scanned
                books.show(pump.queued(), watcher)
        for unit in books.flush():
            intake.finished(unit)
        books.show(pump.queued(), watcher)
        stopped = pump.stopped
    return _close(job, books, intake.skipped, before, complete=not stopped)


def _take_in(job: Job) -> None:
    """Publish what a killed run committed and did not live to publish: the sum counts from there."""
    if exists(job.index):
        with open_writer(job.index, job.settings.index):
            pass


def index_size(index: Path) -> int:
    """Records in an index, also those erased since; 0 where there is none yet."""
    return open_reader(index).records if exists(index) else 0


def _close(job: Job, books: Books, skipped: Skipped, before: int, *, complete: bool) -> Summary:
    records, size, root = 0, 0, None
    if exists(job.index):
        reader = open_reader(job.index)
        records, size, root = reader.records, reader.size, reader.root.hex()
    checkpoint = {"size": size, "root": root}
    summary = books.tally.summary(records - before, checkpoint, skipped, complete=complete)
    write_whole(job.results / "summary.json", json.dumps(summary.as_json(), indent=2).encode() + b"\n")
    return summary


@contextmanager
def _compute(settings: Settings) -> Iterator[int]:
    """The engine's session; yields how many GPUs it has."""
    if settings.run.engine == "local":
        yield gpus_for(settings)
        return
    from cluster.session import session  # noqa: PLC0415  # threads need no Ray

    with session(settings.run.address, settings.flow.object_store_bytes, gpus_for(settings)) as gpus:
        yield gpus


def _hops(job: Job, gpus: int) -> Hops:
    """The hops with their parts of the GPUs, which threads of one process have no use for."""
    flow, where = job.settings.flow, devices(job.settings, gpus)
    graph = stream(job.settings, job.keys, job.index, job.results, where)
    try:
        hops = graph.hops(flow.hops, flow.replicas)
        if job.settings.run.engine == "local":
            return hops
        return shared(hops, where.on_gpu, flow.gpu_shares, gpus)
    except GraphError as error:
        raise JobError(f"flow: {error}") from error


def _crew(settings: Settings, hops: Hops) -> Crew:
    if settings.run.engine == "local":
        return ThreadCrew(hops.legs())
    from actors.ray_crew import RayCrew  # noqa: PLC0415  # threads need no Ray

    return RayCrew(hops.legs())


@contextmanager
def _drained_by_signals(pump: Pump) -> Iterator[None]:
    """First signal: take nothing more and finish what is in flight. A second signal has its usual effect."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def drain(_number: int, _frame: FrameType | None) -> None:
        pump.stop()
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in signals:
        signal.signal(number, drain)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
