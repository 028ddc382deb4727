"""A run of the engine on threads that goes on until it is told to stop, with toys for stages."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from actors.thread_crew import ThreadCrew
from pipeline.engine.flow import FlowOptions
from pipeline.engine.graph import Graph
from pipeline.engine.pump import Pump
from pipeline.run.exporter import Exporter
from stages.base import Reason, Reject, Split
from stages.batches import Entries, Located, Refused
from tests.pipeline.toys import Double, Numbers, Read, key_of, piece

_ROWS = 8


@dataclass(frozen=True)
class Undelivered:
    """A PACS that takes all but the last row of a series."""

    name: str = "deliver"

    @contextmanager
    def open(self) -> Iterator[Callable[[Numbers], Split[Numbers]]]:
        yield self._run

    def _run(self, batch: Numbers) -> Split[Numbers]:
        lost = Reject(batch.keys[-1], self.name, Reason.UNDELIVERABLE)
        return Split(batch.cut(0, len(batch) - 1), (lost,))


@dataclass(frozen=True)
class Append:
    """An index that held every block's first row already."""

    name: str = "append"

    @contextmanager
    def open(self) -> Iterator[Callable[[Numbers], Split[Entries]]]:
        yield self._run

    def _run(self, batch: Numbers) -> Split[Entries]:
        rows = np.arange(len(batch))
        return Split(Entries(batch.keys, rows, batch.keys, rows > 0))


def _endless(stop: threading.Event) -> Iterator[Located | Refused]:
    yield Refused("broken", key_of(0), Reason.EMPTY, "the file has no bytes")
    for start in itertools.count(1, _ROWS):
        if stop.wait(0.05):
            return
        yield piece(range(start, start + _ROWS))


@contextmanager
def running(exporter: Exporter) -> Iterator[None]:
    """The stream, observed by ``exporter`` as the bookkeeping of a run observes it."""
    graph = (
        Graph.of(Read(bad=frozenset({3})))
        .then(Double(seconds=0.01))
        .beside(Graph.of(Undelivered()), join=Numbers.join)
        .gather(narrow=lambda batch: batch, join=Numbers.join)
        .then(Append())
    )
    flow = FlowOptions(hops=("read+double",), block=2 * _ROWS, block_age_s=0.2)
    hops = graph.hops(flow.hops, flow.replicas)
    crew = ThreadCrew(hops.legs())
    pump = Pump(hops, crew, flow)
    stop = threading.Event()

    def drive() -> None:
        for event in pump.run(_endless(stop)):
            exporter.observe(event)
            exporter.depth(pump.queued())

    thread = threading.Thread(target=drive)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        crew.close()
