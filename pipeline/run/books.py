"""The bookkeeping of one run: tally, dead letters, ledger, metrics and the terminal's display.

Order matters: a unit's letters are durable before the ledger records the unit as finished, and the ledger's
row is durable before the unit is acknowledged to its source.
"""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, Self

from actors.receipts import Receipt
from pipeline.config import as_dict
from pipeline.engine.accounting import Finished, Rejected
from pipeline.engine.pump import Measured
from pipeline.run.dead_letters import DeadLetters, Letter
from pipeline.run.exporter import Exporter
from pipeline.run.job import Job
from pipeline.run.ledger import Ledger
from pipeline.run.recount import Recount, recount
from pipeline.run.summary import Tally
from stages.batches import Refused
from stages.deliver.stage import Delivered
from stages.errors import OperatorError, UnwritableError
from stages.files import write_whole
from stages.ingest.sources.base import Unit
from stages.ingest.sources.opening import absolute

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.engine.pump import Event

_SHOWN_EVERY_S = 0.25
Row = tuple[str, int]  # a file and a frame in it
_REFUSED_KEPT = 256  # letters of refused files written together


class Watcher(Protocol):
    """Receives the state of a run, for the terminal."""

    def update(self, tally: Tally, queued: Mapping[str, int]) -> None:
        """Show this state; called a few times a second."""


class Books:
    """Records every event of one run. A context manager; one thread."""

    def __init__(self, job: Job, records: int) -> None:
        self._job = job
        self.tally = Tally()
        self._refused: list[Refused] = []
        self._contents: dict[bytes, bytes] = {}  # delivered, of units that are not finished; by record id
        self._open: dict[int, dict[Row, Letter]] = {}  # of units that are not finished, by their numbers
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

    def book(self, event: Event) -> list[Unit]:
        """Count and store one event; the units whose end is durable since."""
        self.tally.observe(event)
        self._exporter.observe(event)
        match event:
            case Measured(receipt=Receipt(result=Delivered() as result)):
                self._contents |= zip(result.keys, result.contents, strict=True)
            case Rejected():
                row = (event.place.path, event.place.frame)
                letters = self._open.setdefault(event.unit, {})
                if event.counted or row not in letters:
                    letters[row] = _letter(event)
            case Refused():
                self._refused.append(event)
                if len(self._refused) >= _REFUSED_KEPT:
                    return self.flush()
            case Finished():
                letters, again = self._recounted(event, self._open.pop(event.unit, {}))
                self._letters.settle(event, [*self._of_refused(), *letters.values()])
                self._ledger.enter(event, again.rejected, self._contents)
                for piece in event.pieces:
                    for key in piece.keys:
                        self._contents.pop(key, None)
                self.tally.recount(again)
                return [*self._taken(), event.pieces]
        return []

    def flush(self) -> list[Unit]:
        """Write the buffered letters of refused files; those files."""
        self._letters.add(self._of_refused())
        return self._taken()

    def _of_refused(self) -> list[Letter]:
        return [
            Letter(
                one.path, 0, one.key.hex(), "scan", one.reason, one.detail, counted=True, time_s=time.time()
            )
            for one in self._refused
        ]

    def _taken(self) -> list[Unit]:
        taken: list[Unit] = list(self._refused)
        self._refused.clear()
        return taken

    def _recounted(self, unit: Finished, letters: dict[Row, Letter]) -> tuple[dict[Row, Letter], Recount]:
        """The unit's letters, and what of the counts is of rows that an earlier unit of the run held.

        A row that was kept there stays indexed: where it is rejected now, only its delivery failed.
        """
        rows = [
            (place.path, place.frame)
            for piece in unit.pieces
            for place, again in zip(piece.places, piece.again, strict=True)
            if again
        ]
        before = self._letters.at(rows)
        now = {row: letters[row] for row in rows if row in letters}
        lost = {row for row, letter in before.items() if letter.counted}
        after = {row: replace(letter, counted=letter.counted and row in lost) for row, letter in now.items()}
        return {**letters, **after}, recount(len(rows), before.values(), now.values(), after.values())

    def due(self) -> bool:
        """Whether the terminal's display is out of date."""
        return time.monotonic() - self._shown_s > _SHOWN_EVERY_S

    def show(self, queued: Mapping[str, int], watcher: Watcher | None) -> None:
        """Update the gauges, and the terminal where there is one."""
        self._shown_s = time.monotonic()
        self._exporter.depth(queued)
        if watcher is not None:
            watcher.update(self.tally, queued)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, failure: BaseException | None, _traceback: object) -> None:
        left = [letter for letters in self._open.values() for letter in letters.values()]
        with closing(self._exporter), closing(self._ledger), closing(self._letters):
            try:
                self._letters.add([*self._of_refused(), *left])
            except UnwritableError:
                if failure is None:  # else the first failure is raised
                    raise


def _letter(event: Rejected) -> Letter:
    place, reject = event.place, event.reject
    return Letter(
        place.path,
        place.frame,
        reject.key.hex(),
        reject.stage,
        reject.reason,
        reject.detail,
        event.counted,
        time.time(),
    )


def _request(job: Job) -> dict[str, object]:
    """The settings and paths that a replay needs to run the same way."""
    return {
        "sources": [absolute(source) for source in job.sources],
        "index": str(job.index.resolve()),
        "keys": str(job.keys.resolve()),
        "settings": as_dict(job.settings),
    }
