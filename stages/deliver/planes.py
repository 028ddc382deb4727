"""The rows of a series as the clinic knows them: which frame of which file, in anatomical order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from stages.batches import Place, Segmented
from stages.components import large_components
from stages.grid import Mask
from stages.ingest.site import Site


@dataclass(frozen=True, slots=True)
class SegmentedFrame:
    """One segmented frame and where it came from."""

    key: bytes
    place: Place
    mask: Mask
    confidence: float
    spacing_known: bool
    novelty: float  # above 1: out of distribution; NaN: unknown


@dataclass(frozen=True, slots=True)
class Plane:
    """A result beside what its source says of its geometry."""

    result: SegmentedFrame
    spacing_mm: tuple[float, float] | None = None  # row, column, on the stored grid
    header: Dataset = field(default_factory=Dataset)  # the DICOM instance without its pixels; else empty
    position_mm: NDArray[np.float64] | None = None  # [3], of the first pixel, patient coordinates
    orientation: tuple[float, ...] | None = None  # direction cosines of a row and of a column


@dataclass(frozen=True, slots=True)
class Stack:
    """Planes that one mask file holds, in its order, and the distance between them where it is known."""

    planes: tuple[Plane, ...]
    gap_mm: float | None = None

    def with_results(self, results: Sequence[SegmentedFrame]) -> Stack:
        """The same planes, each with the result of its place in ``results``."""
        pairs = zip(self.planes, results, strict=True)
        return replace(self, planes=tuple(replace(plane, result=result) for plane, result in pairs))


def by_series(batch: Segmented, site: Site) -> dict[bytes, list[SegmentedFrame]]:
    """The batch's rows by series, each key once: a retried row may arrive twice."""
    series: dict[bytes, dict[bytes, SegmentedFrame]] = {}
    for i, key in enumerate(batch.rows.keys):
        place = site.open_ticket(batch.rows.tickets[i], key)
        series.setdefault(batch.rows.series[i], {})[key] = SegmentedFrame(
            key,
            place,
            batch.masks[i],
            float(batch.confidence_N[i]),
            bool(batch.spacing_known_N[i]),
            float(batch.novelty_N[i]),
        )
    return {name: list(rows.values()) for name, rows in series.items()}


def keep_large_components(results: Sequence[SegmentedFrame]) -> list[SegmentedFrame]:
    """The slices of one volume in its order, without what belongs to no large component of it."""
    masks = large_components(len(results), lambda i: results[i].mask.unpack())
    return [replace(one, mask=Mask.pack(mask_HW)) for one, mask_HW in zip(results, masks, strict=True)]


def by_file(results: Sequence[SegmentedFrame]) -> dict[str, list[SegmentedFrame]]:
    """Results by source file, frames in order."""
    files: dict[str, list[SegmentedFrame]] = {}
    for result in sorted(results, key=lambda one: (one.place.path, one.place.frame)):
        files.setdefault(result.place.path, []).append(result)
    return files
