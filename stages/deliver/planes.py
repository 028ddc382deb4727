"""The rows of a series as the clinic knows them: which frame of which file, stack by stack, in order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from stages.batches import Segmented
from stages.grid import Mask
from stages.ingest.site import Site
from stages.places import Place, StackId


@dataclass(frozen=True, slots=True)
class SegmentedFrame:
    """One segmented frame and where it came from."""

    key: bytes
    place: Place
    mask: Mask
    spacing_known: bool
    novelty: float  # above 1: out of distribution; NaN: unknown
    stack: StackId = field(default_factory=StackId)


@dataclass(frozen=True, slots=True)
class Plane:
    """A result beside what its source says of its geometry; what is unknown is None."""

    result: SegmentedFrame
    spacing_mm: tuple[float, float] | None = None  # row, column, on the stored grid
    pixel_area_mm2: float | None = None
    depth_mm: float | None = None  # along the normal of the stack
    header: Dataset = field(default_factory=Dataset)  # the DICOM instance without its pixels; else empty
    position_mm: NDArray[np.float64] | None = None  # [3], of the first pixel, patient coordinates
    orientation: tuple[float, ...] | None = None  # direction cosines of a row and of a column
    removed: int = 0  # pixels of the network's mask that are not in the result's, as stray objects


@dataclass(frozen=True, slots=True)
class Stack:
    """The planes that one mask file holds, in its order, and what its source says of them together."""

    id: StackId
    planes: tuple[Plane, ...]
    stated_gap_mm: float | None = None  # to the next slice, as the header has it
    between_mm: float | None = (
        None  # Spacing Between Slices, the median; None where no header has a positive one
    )
    thickness_mm: float | None = None  # Slice Thickness, likewise
    tilt_degrees: float | None = None  # of the normal from the patient's long axis
    modalities: tuple[str, ...] = ()  # all that its slices name, as DICOM does
    lack: str = ""  # what its geometry lacks, as a sentence; empty where nothing is lacking
    note: str = ""  # what a reader should know of its geometry, as a sentence


def stacks_of(rows: Iterable[SegmentedFrame]) -> list[list[SegmentedFrame]]:
    """The rows of each stack, in their order; the stacks in the order of their numbers."""
    stacks: dict[int, list[SegmentedFrame]] = {}
    for row in rows:
        stacks.setdefault(row.stack.number, []).append(row)
    return [stacks[number] for number in sorted(stacks)]


def by_series(batch: Segmented, site: Site) -> dict[bytes, list[SegmentedFrame]]:
    """The batch's rows by series, in their order, each key once: a retried row may arrive twice."""
    series: dict[bytes, dict[bytes, SegmentedFrame]] = {}
    for i, key in enumerate(batch.rows.keys):
        place = site.open_ticket(batch.rows.tickets[i], key)
        series.setdefault(batch.rows.series[i], {})[key] = SegmentedFrame(
            key,
            place,
            batch.masks[i],
            bool(batch.spacing_known_N[i]),
            float(batch.novelty_N[i]),
            batch.rows.stacks[i],
        )
    return {name: list(rows.values()) for name, rows in series.items()}


def by_file(results: Iterable[SegmentedFrame]) -> dict[str, list[SegmentedFrame]]:
    """Results by source file, in their order."""
    files: dict[str, list[SegmentedFrame]] = {}
    for result in results:
        files.setdefault(result.place.path, []).append(result)
    return files
