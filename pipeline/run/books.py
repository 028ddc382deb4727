"""The bookkeeping of one run: tally, dead letters, ledger, metrics and what the terminal shows.

Order matters: a unit's letters are durable before the ledger calls the unit finished.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Protocol, Self

from pipeline.config import as_dict
from pipeline.engine.accounting import Finished, Rejected
from pipeline.run.dead_letters import DeadLetters, Letter
from pipeline.run.exporter import Exporter
from pipeline.run.job import Job
from pipeline.run.ledger import Done, Ledger
from pipeline.run.summary import Tally
from stages.batches import Located, Refused
from stages.encrypt.keys.site import load_site_secret
from stages.errors import OperatorError
from stages.files import write_whole
from stages.index.reader import Reader, open_reader
from stages.ingest.site import Site
from stages.ingest.sources.folder import scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.engine.pump import Event

_SHOWN_EVERY_S = 0.25
_REFUSED_KEPT = 256  # letters of refused files written together


class Watcher(Protocol):
    """Sees a run as it goes; for the terminal."""

    def update(self, tally: Tally, queued: Mapping[str, int]) -> None:
        """Called a few times a second."""


class Books:
    """Books every event of one run. A context manager; one thread."""

    def __init__(self, job: Job, records: int) -> None:
        self._job = job
        self.tally = Tally()
        self._refused: list[Letter] = []
        self._open: dict[tuple[str, int], Letter] = {}  # of units that are not finished
        self._shown_s = 0.0
        self._exporter = Exporter(records)
        run = job.settings.run
        if run.metrics_port:
            try:
                self._exporter.serve(run.metrics_host, run.metrics_port)
            except OSError as error:
                where = f"{run.metrics_host}:{run.metrics_port}"
                raise OperatorError(f"cannot serve /metrics on {where}: {error.strerror}") from error
        self._letters = DeadLetters(job.results)
        self._ledger = Ledger(job.results)
        if not job.replay:
            write_whole(job.results / "job.json", json.dumps(_request(job), indent=2).encode() + b"\n")

    def source(self) -> Iterator[Located | Refused]:
        """What is left to do; read in the engine's source thread."""
        site = Site(load_site_secret(self._job.keys))
        index = self._job.index
        log = open_reader(index) if self._job.resume and any(index.glob("*")) else None
        with Ledger(self._job.results) as earlier:
            for unit in _units(scan(self._job.sources, site, self._job.settings.ingest)):
                if isinstance(unit, Refused):
                    yield unit
                elif log and (done := earlier.find(unit)) and _stands(log, unit, done):
                    self.tally.skip(unit, done)
                else:
                    yield from unit

    def book(self, event: Event) -> None:
        """Count, keep and tell one event."""
        self.tally.observe(event)
        self._exporter.observe(event)
        match event:
            case Rejected():
                reject, place = event.reject, event.place
                self._open[place.path, place.frame] = Letter(
                    place.path, place.frame, reject.key.hex(), reject.stage, reject.reason,
                    reject.detail, event.counted, time.time(),
                )  # fmt: skip
            case Refused():
                self._refused.append(
                    Letter(event.path, 0, event.key.hex(), "scan", event.reason, event.detail,
                           counted=True, time_s=time.time())
                )  # fmt: skip
                if len(self._refused) >= _REFUSED_KEPT:
                    self._letters.add(self._refused)
                    self._refused.clear()
            case Finished():
                self._letters.settle(event, [*self._refused, *self._letters_of(event)])
                self._refused.clear()
                self._ledger.enter(event)

    def _letters_of(self, unit: Finished) -> list[Letter]:
        """And no other unit's: those are settled with it, which begins by forgetting what is there."""
        places = [(place.path, place.frame) for piece in unit.pieces for place in piece.places]
        return [self._open.pop(place) for place in places if place in self._open]

    def due(self) -> bool:
        """Whether the terminal has not been told for a while."""
        return time.monotonic() - self._shown_s > _SHOWN_EVERY_S

    def show(self, queued: Mapping[str, int], watcher: Watcher) -> None:
        """Tell the terminal and the gauges."""
        self._shown_s = time.monotonic()
        self._exporter.depth(queued)
        watcher.update(self.tally, queued)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._letters.add([*self._refused, *self._open.values()])
        self._letters.close()
        self._ledger.close()
        self._exporter.close()


def _stands(log: Reader, unit: tuple[Located, ...], done: Done) -> bool:
    """Whether the index still holds what the ledger says: it may be another one, or an older copy."""
    keys = [key for piece in unit for key in piece.keys]
    return sum(log.find(key) is not None for key in keys) >= done.kept


def _units(found: Iterator[Located | Refused]) -> Iterator[tuple[Located, ...] | Refused]:
    """What is finished as a whole, together; the pieces of a cut follow one another."""
    pieces: list[Located] = []
    for item in found:
        if isinstance(item, Refused):
            yield item
            continue
        pieces.append(item)
        if len(pieces) == item.parts:
            yield tuple(pieces)
            pieces = []


def _request(job: Job) -> dict[str, object]:
    """What a later replay needs to run the same way."""
    return {
        "sources": [str(source.resolve()) for source in job.sources],
        "index": str(job.index.resolve()),
        "keys": str(job.keys.resolve()),
        "settings": as_dict(job.settings),
    }
