"""Reads the sources, skips finished units, and returns acknowledgements to the sources.

A resumed run skips the units that the ledger records as finished, if the index still holds their records,
and counts them. A unit is acknowledged to the source that yielded it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from pipeline.run.job import Job
from pipeline.run.ledger import Done, Ledger
from pipeline.run.preflight import exists
from pipeline.run.summary import Skipped
from stages.batches import Copied, Located, Refused
from stages.encrypt.keys.site import load_site_secret
from stages.index.reader import Reader, open_reader
from stages.ingest.site import Site
from stages.ingest.sources.base import Source, Unit, units
from stages.ingest.sources.opening import open_sources

Earlier = Callable[[tuple[Located, ...]], Done | None]


class Intake:
    """Several sources, filtered. ``streams`` are read in threads of their own, the rest in the pump's."""

    def __init__(self, sources: Sequence[Source], earlier: Earlier = lambda _: None) -> None:
        self.skipped = Skipped()
        self._sources = sources
        self._earlier = earlier
        self._lock = threading.Lock()  # of the ledger's connection and of ``skipped``
        self._origin: dict[
            int, Source
        ] = {}  # of units not finished yet, by the identity of their first piece

    @property
    def scanned(self) -> int:
        """How many files the sources have looked at so far."""
        return sum(source.scanned for source in self._sources)

    def streams(self) -> list[Iterator[Located | Refused | Copied]]:
        """The unfinished work of each source."""
        return [self._left(source) for source in self._sources]

    def finished(self, unit: Unit) -> None:
        """Acknowledge a unit to its source; takes the same objects that a stream yielded."""
        self._origin.pop(_identity(unit)).finished(unit)

    def close(self) -> None:
        """Close every source, also where one of them fails."""
        with ExitStack() as stack:
            for source in self._sources:
                stack.callback(source.close)

    def _left(self, source: Source) -> Iterator[Located | Refused | Copied]:
        for unit in units(source):
            if isinstance(unit, Copied):
                yield unit
                continue
            if not isinstance(unit, Refused) and self._skips(unit):
                source.finished(unit)
                continue
            self._origin[_identity(unit)] = source
            if isinstance(unit, Refused):
                yield unit
            else:
                yield from unit

    def _skips(self, pieces: tuple[Located, ...]) -> bool:
        with self._lock:
            done = self._earlier(pieces)
            if done is not None:
                self.skipped.add(pieces, done)
        return done is not None


@contextmanager
def opened(job: Job) -> Iterator[Intake]:
    """The intake of a job; closed with its sources at the end."""
    site = Site(load_site_secret(job.keys))
    log = open_reader(job.index) if job.resume and exists(job.index) else None
    # A connection each: the sources ask for files in their own thread.
    with Ledger(job.results) as ledger, Ledger(job.results) as of_files:
        sources = open_sources(job.sources, site, job.settings.ingest, of_files.files_of, of_files.delivered)
        intake = Intake(sources) if log is None else Intake(sources, _confirmed(ledger, log))
        try:
            yield intake
        finally:
            intake.close()


def _confirmed(ledger: Ledger, log: Reader) -> Earlier:
    """The ledger's row of a unit, if the index holds its records: it may be another or an older copy."""

    def earlier(pieces: tuple[Located, ...]) -> Done | None:
        done = ledger.find(pieces)
        if done is None:
            return None
        keys = [key for piece in pieces for key in piece.keys]
        return done if sum(log.find(key) is not None for key in keys) >= done.kept else None

    return earlier


def _identity(unit: Unit) -> int:
    return id(unit) if isinstance(unit, Refused) else id(unit[0])
