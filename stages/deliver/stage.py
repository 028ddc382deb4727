"""Deliver: what the clinic gets of a series, in ``results/<first 16 hex digits of its pseudonym>/``.

A call holds whole series. Every result is placed as a whole, so that doing a series again is harmless
(versions.py). This stage works on the site and may know identity: it opens tickets and reads the sources
again.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

import cv2

from stages import files
from stages.base import Counted, Reason, Reject, Split
from stages.batches import Segmented
from stages.deliver import measure, sheet, versions
from stages.deliver.caveats import fewer
from stages.deliver.masks import Failed, MaskMaker
from stages.deliver.measure import Listed, Measurements
from stages.deliver.options import DeliverOptions
from stages.deliver.parts import missing_parts
from stages.deliver.planes import SegmentedFrame, by_series, stacks_of
from stages.encrypt.keys.site import load_site_secret
from stages.ingest.faults import silence
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site

FOLDER_DIGITS = 16
OVERLAY = "overlay.png"
STAGING = ".incoming"


@dataclass(frozen=True, slots=True)
class Delivered:
    """Rows whose results are durable, and the files that hold them, relative to the results folder."""

    keys: tuple[bytes, ...]
    paths: tuple[str, ...]
    series: tuple[str, ...] = ()  # the names of their folders
    to_review: frozenset[str] = frozenset()  # those of the series that a person should look at
    out_of_scope: frozenset[str] = frozenset()  # those of which nothing is to be used
    contents: tuple[bytes, ...] = ()  # one a key: the keyed digest of its pixels; b"" where there is none

    @property
    def counters(self) -> Mapping[Counted, int]:
        """How many series a person should look at, and of how many nothing is to be used."""
        return {
            Counted.SERIES_TO_REVIEW: len(self.to_review),
            Counted.OUT_OF_SCOPE: len(self.out_of_scope),
        }

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class Deliver:
    """Segmented to files for the clinic."""

    options: DeliverOptions
    results: Path
    keys: Path  # where the site secret lies
    model: str = ""  # what names the weights
    limits: IngestOptions = field(default_factory=IngestOptions)
    largest_component: bool = True  # SegmentOptions.largest_component
    name: ClassVar[str] = "deliver"

    @contextmanager
    def open(self) -> Iterator[Callable[[Segmented], Split[Delivered]]]:
        """Read the site secret, make the results folder, yield the batch function."""
        site = Site(load_site_secret(self.keys))
        files.make_directory(self._staging)
        silence()
        # highdicom quotes what it finds odd, names among them, in its log and its warnings.
        logging.getLogger("highdicom").setLevel(logging.CRITICAL + 1)
        warnings.filterwarnings("ignore", module=r"highdicom(\.|$)")
        cv2.setNumThreads(1)
        yield partial(self._run, site)

    @property
    def _staging(self) -> Path:
        """Where results lie until they are whole; apart, since it is looked through at each delivery."""
        return self.results / STAGING

    def _run(self, site: Site, batch: Segmented) -> Split[Delivered]:
        paths: list[str] = []
        failed: Failed = {}
        found: list[Measurements] = []
        for series, results in by_series(batch, site).items():
            written, measured = self._series(series.hex()[:FOLDER_DIGITS], results, failed)
            paths += written
            found.append(measured)
        kept = tuple(key for key in batch.rows.keys if key not in failed)
        contents = dict(zip(batch.rows.keys, batch.rows.contents, strict=True))
        rejected = tuple(
            Reject(key, self.name, Reason.UNDELIVERABLE, failed[key])
            for key in batch.rows.keys
            if key in failed
        )
        delivered = Delivered(
            kept,
            tuple(paths),
            tuple(one.series for one in found),
            frozenset(one.series for one in found if one.review),
            frozenset(one.series for one in found if one.out_of_scope),
            tuple(contents[key] for key in kept),
        )
        return Split(delivered, rejected)

    def _series(
        self, series: str, rows: Sequence[SegmentedFrame], failed: Failed
    ) -> tuple[list[str], Measurements]:
        """Write one series' files; those of its rows that cannot be placed are added to ``failed``."""
        folder = self.results / series
        files.restore_directory(folder, self._staging)
        with files.part_directory(folder, self._staging) as part:
            masks = tuple(self._masks(part, rows, failed))
            record_ids = frozenset(plane.result.key.hex() for mask in masks for plane in mask.stack.planes)
            there = versions.shelf(folder)
            lacking = there.current.record_ids - record_ids if there.current else ()
            caveats = (
                *((fewer(len(lacking), there.current.version),) if there.current and lacking else ()),
                *missing_parts(mask.stack for mask in masks),
            )
            undelivered = sum(row.key in failed for row in rows)
            measured = Measurements(series, masks, caveats, undelivered)
            if there.current and not masks:
                return [], measured
            picture = sheet.picture(measured, self.options.overlay_slices, self.limits)
            if picture:
                files.write_in_part(part, OVERLAY, picture)
            names = [*(mask.name for mask in masks), *([OVERLAY] if picture else []), versions.MEASUREMENTS]

            def describe(version: int) -> None:
                document = measure.document(measured, version, self.model)
                files.write_in_part(part, versions.MEASUREMENTS, document)

            lies = versions.settle(part, folder, there, record_ids, describe)
        return [str((lies / name).relative_to(self.results)) for name in names], measured

    def _masks(self, part: Path, rows: Sequence[SegmentedFrame], failed: Failed) -> Iterator[Listed]:
        """Write the mask files of every stack; several stacks have a folder each."""
        maker = MaskMaker(self.options, self.limits, self.model, self.largest_component)
        several = max(row.stack.of for row in rows) > 1
        for stack in stacks_of(rows):
            home = f"stack-{stack[0].stack.number}/" if several else ""
            for mask in maker.of(stack, failed):
                files.write_in_part(part, f"{home}{mask.name}", mask.data)
                yield Listed(f"{home}{mask.name}", mask.stack, mask.caveats, mask.why)
