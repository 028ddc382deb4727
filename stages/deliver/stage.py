"""Deliver: what the clinic gets of a series, in ``results/<first 16 hex digits of its pseudonym>/``.

A call holds whole series. Every file is replaced as a whole, so that doing a series again is harmless.
This stage works on the site and may know identity: it opens tickets and reads the sources again.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

import cv2

from stages import files
from stages.base import Reason, Reject, Split
from stages.batches import FileKind, Frame, Segmented, Uncounted
from stages.deliver import measure, overlay
from stages.deliver.masks import Failed, MaskFile, of_dicom, of_nifti, of_raster
from stages.deliver.measure import Listed
from stages.deliver.options import DeliverOptions
from stages.deliver.planes import Plane, SegmentedFrame, by_series, keep_large_components
from stages.deliver.sources import decoded
from stages.encrypt.keys.site import load_site_secret
from stages.ingest.faults import silence
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site

FOLDER_DIGITS = 16
OVERLAY = "overlay.png"
MEASUREMENTS = "measurements.json"


@dataclass(frozen=True, slots=True)
class Delivered(Uncounted):
    """Rows whose results are durable, and the files that hold them, relative to the results folder."""

    keys: tuple[bytes, ...]
    paths: tuple[str, ...]

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
    largest_component: bool = True  # as in the segment stage, which saw a long series in pieces only
    name: ClassVar[str] = "deliver"

    @contextmanager
    def open(self) -> Iterator[Callable[[Segmented], Split[Delivered]]]:
        """Read the site secret, make the results folder, yield the batch function."""
        site = Site(load_site_secret(self.keys))
        files.make_directory(self.results)
        silence()
        # highdicom quotes what it finds odd, names among them, in its log and its warnings.
        logging.getLogger("highdicom").setLevel(logging.CRITICAL + 1)
        warnings.filterwarnings("ignore", module=r"highdicom(\.|$)")
        cv2.setNumThreads(1)
        yield partial(self._run, site)

    def _run(self, site: Site, batch: Segmented) -> Split[Delivered]:
        paths: list[str] = []
        failed: Failed = {}
        for series, results in by_series(batch, site).items():
            paths += self._series(series.hex()[:FOLDER_DIGITS], results, failed)
        kept = tuple(key for key in batch.rows.keys if key not in failed)
        rejected = tuple(
            Reject(key, self.name, Reason.UNDELIVERABLE, failed[key])
            for key in batch.rows.keys
            if key in failed
        )
        return Split(Delivered(kept, tuple(paths)), rejected)

    def _series(self, series: str, results: Sequence[SegmentedFrame], failed: Failed) -> list[str]:
        """Write one series' files; those of its rows that cannot be placed are added to ``failed``."""
        listed: list[Listed] = []
        with files.filled_directory(self.results / series) as put:
            for mask in self._masks(results, failed):
                put(mask.name, mask.data)
                listed.append(Listed(mask.name, mask.stack, mask.why))
            names = [mask.name for mask in listed]
            picture = self._overlay(series, listed)
            if picture:
                put(OVERLAY, picture)
                names.append(OVERLAY)
            undelivered = sum(result.key in failed for result in results)
            put(MEASUREMENTS, measure.document(series, listed, undelivered, self.model))
        return [f"{series}/{name}" for name in (*names, MEASUREMENTS)]

    def _masks(self, results: Sequence[SegmentedFrame], failed: Failed) -> Iterator[MaskFile]:
        """Each kind of source gets the file its reader expects."""
        of_kind = {kind: [one for one in results if one.place.kind is kind] for kind in FileKind}
        clean = keep_large_components if self.largest_component else None
        yield from of_dicom(of_kind[FileKind.DICOM], self.options.series_number, self.model, failed, clean)
        yield from of_nifti(of_kind[FileKind.NIFTI], self.limits, failed, clean)
        yield from of_raster(of_kind[FileKind.RASTER])

    def _overlay(self, series: str, listed: Sequence[Listed]) -> bytes | None:
        """The contact sheet; None where there is nothing to show: rasters, or sources that are gone."""
        planes = [plane for mask in listed for plane in mask.stack.planes]
        shown = [plane for plane in planes if plane.result.place.kind is not FileKind.RASTER]
        if not shown or self.options.overlay_slices == 0:
            return None
        chosen = overlay.chosen([measure.pixels(plane) for plane in shown], self.options.overlay_slices)
        frames = decoded([shown[i] for i in chosen], self.limits)
        tiles = [
            tile(shown[i], frames[shown[i].result.key], f"slice {i + 1} of {len(shown)}")
            for i in chosen
            if shown[i].result.key in frames
        ]
        return overlay.contact_sheet(tiles, heading(series, listed)) if tiles else None


def tile(plane: Plane, frame: Frame, title: str) -> overlay.Picture:
    """One slice with what was measured on it."""
    pixels, area_mm2 = measure.pixels(plane), measure.area_mm2(plane)
    size = f"{pixels} pixels" if area_mm2 is None else f"{area_mm2 / 100:.1f} sq cm"
    size = size if pixels else "no prostate"
    confidence = f"confidence {plane.result.confidence:.0%}"
    return overlay.Picture(frame, plane.result.mask.unpack(), title, size, confidence)


def heading(series: str, listed: Sequence[Listed]) -> str:
    """One line about the series."""
    planes = [plane for mask in listed for plane in mask.stack.planes]
    found = sum(measure.pixels(plane) > 0 for plane in planes)
    volume_ml = measure.volume_ml(listed[0].stack) if len(listed) == 1 else None
    volume = "volume unknown" if volume_ml is None else f"volume {volume_ml:.1f} ml"
    return f"Series {series}: prostate on {found} of {len(planes)} slices, {volume}"
