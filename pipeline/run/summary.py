"""What a run did: the sum that proves nothing was lost, and where the time went."""

from __future__ import annotations

import statistics
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.engine.accounting import Finished, Rejected
from pipeline.engine.pump import Admitted, Event, Measured
from pipeline.run.ledger import Done
from pipeline.run.recount import Recount
from stages.batches import Copied, Located, Refused
from stages.deliver.stage import Delivered
from stages.errors import EngineError
from stages.ingest.purpose import counts_against_the_run

_BATCHES = 10_000  # percentiles are of the newest batches, so that memory stays flat


class LostRowsError(EngineError):
    """The counts do not add up: a bug in the engine or the index."""


@dataclass(frozen=True, slots=True)
class StageSummary:
    """One stage over the run; milliseconds are of one batch."""

    frames: int
    seconds: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Summary:
    """``frames == indexed + already_indexed + rejected``; a file that cannot be opened is one frame."""

    inputs: int
    frames: int
    indexed: int
    already_indexed: int  # copies included
    copies: int
    rejected: int
    rejects_by_reason: dict[str, int]
    set_aside: int  # of the rejected: no images to segment, which fail no run
    undelivered: int
    series_to_review: int  # delivered with a flag that a person should look at
    out_of_scope: int  # series of which nothing is to be used
    complete: bool  # False: stopped before the end of the source
    seconds: float
    frames_per_second: float
    stages: dict[str, StageSummary]
    resident_bytes: dict[str, int]  # high-water by host
    checkpoint: dict[str, Any]

    @property
    def found_no_image(self) -> bool:
        """Whether the sources held files, and none of them was to be segmented."""
        return self.complete and 0 < self.frames == self.set_aside

    def as_json(self) -> dict[str, Any]:
        """The summary as plain values."""
        return asdict(self)


@dataclass
class Skipped:
    """What a resumed run leaves out, since an earlier run finished it."""

    inputs: int = 0
    kept: int = 0
    rejected: int = 0

    def add(self, pieces: Sequence[Located], done: Done) -> None:
        """Count a unit."""
        again = sum(sum(piece.again) for piece in pieces)
        rejected = done.rejected_again if again else 0
        self.inputs += sum(_files(piece) for piece in pieces)
        self.kept += done.kept - (again - rejected)
        self.rejected += done.rejected - rejected


@dataclass
class Tally:
    """Counts a run's events as they come; of the run it remembers the names of series to review only.

    What a source gives again, since a series has grown, is counted once: a frame by its first unit, unless
    ``recount`` tells otherwise, and a series by its last delivery.
    """

    inputs: int = 0
    frames: int = 0
    kept: int = 0
    scanned: int = 0  # files that the sources have looked at
    copies: int = 0  # frames that a source holds once more, with the same pixels
    rejected: int = 0
    set_aside: int = 0
    undelivered: int = 0
    passed: int = 0  # through segmentation: the smooth figure, since blocks are indexed in bursts
    reasons: Counter[str] = field(default_factory=Counter)
    to_review: set[str] = field(default_factory=set)  # series, by their last delivery
    out_of_scope: set[str] = field(default_factory=set)
    resident_bytes: dict[str, int] = field(default_factory=dict)
    began_s: float = field(default_factory=time.monotonic)
    _frames: Counter[str] = field(default_factory=Counter)
    _seconds: Counter[str] = field(default_factory=Counter)
    _laps: dict[str, deque[float]] = field(default_factory=dict)

    def start(self) -> None:
        """All stages are open: the clock runs from here."""
        self.began_s = time.monotonic()

    def observe(self, event: Event) -> None:
        """Count one event of the engine."""
        match event:
            case Measured():
                self._measured(event)
            case Admitted():
                self.inputs += _files(event.piece)
                self.frames += len(event.piece) - sum(event.piece.again)
            case Finished():
                self.kept += event.kept
                self.rejected += event.rejected
            case Rejected(again=True):
                pass  # see ``recount``
            case Rejected(counted=False):
                self.undelivered += 1
            case Rejected():
                self.reasons[event.reject.reason] += 1
            case Copied():
                self.inputs += 1
                self.frames += event.frames
                self.copies += event.frames
            case Refused():
                self.inputs += 1
                self.frames += 1
                self.rejected += 1
                self.reasons[event.reason] += 1
                self.set_aside += not counts_against_the_run(event.reason, event.path)

    def recount(self, again: Recount) -> None:
        """Correct the counts after the unit whose rows were given again."""
        self.kept -= again.kept
        self.rejected -= again.rejected
        self.undelivered -= again.undelivered
        self.reasons.subtract(again.reasons)

    def summary(
        self, indexed: int, checkpoint: dict[str, Any], skipped: Skipped | None = None, *, complete: bool
    ) -> Summary:
        """Close the books. ``indexed`` is by how much the index has grown, counted there.

        Raises LostRowsError where rows are missing or the index grew by more than was kept.
        """
        if indexed > self.kept or self.kept + self.copies + self.rejected != self.frames:
            raise LostRowsError(
                f"{self.frames} frames came in, {self.kept} were kept, {self.copies} were "
                f"copies and {self.rejected} rejected, "
                f"and the index grew by {indexed}: the counts do not add up"
            )
        seconds = time.monotonic() - self.began_s
        skipped = skipped or Skipped()
        return Summary(
            inputs=self.inputs + skipped.inputs,
            frames=self.frames + skipped.kept + skipped.rejected,
            indexed=indexed,
            already_indexed=self.kept - indexed + self.copies + skipped.kept,
            copies=self.copies,
            rejected=self.rejected + skipped.rejected,
            rejects_by_reason={reason: n for reason, n in sorted(self.reasons.items()) if n},
            set_aside=self.set_aside,
            undelivered=self.undelivered,
            series_to_review=len(self.to_review),
            out_of_scope=len(self.out_of_scope),
            complete=complete,
            seconds=seconds,
            frames_per_second=self.frames / seconds if seconds else 0.0,
            stages={name: self._stage(name) for name in self._laps},
            resident_bytes=self.resident_bytes,
            checkpoint=checkpoint,
        )

    def _measured(self, event: Measured) -> None:
        high_water = max(self.resident_bytes.get(event.hop, 0), event.receipt.rss_bytes)
        self.resident_bytes[event.hop] = high_water
        self.passed += len(event.receipt.keys) if event.leg == "front" else 0
        if isinstance(event.receipt.result, Delivered):
            self._delivered(event.receipt.result)
        for lap in event.receipt.laps:
            self._frames[lap.stage] += lap.rows
            self._seconds[lap.stage] += lap.seconds  # type: ignore[assignment]  # a Counter adds floats as well
            self._laps.setdefault(lap.stage, deque(maxlen=_BATCHES)).append(lap.seconds * 1000)

    def _delivered(self, result: Delivered) -> None:
        for names, found in ((self.to_review, result.to_review), (self.out_of_scope, result.out_of_scope)):
            names.difference_update(result.series)
            names.update(found)

    def _stage(self, name: str) -> StageSummary:
        laps = list(self._laps[name])
        p99 = statistics.quantiles(laps, n=100, method="inclusive")[-1] if len(laps) > 1 else laps[0]
        return StageSummary(self._frames[name], float(self._seconds[name]), statistics.median(laps), p99)


def _files(piece: Located) -> int:
    rows = zip(piece.places, piece.again, strict=True)
    return sum(place.frame == 0 and not again for place, again in rows)
