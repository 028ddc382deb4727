"""A volume in a file, of whatever format: what its header says, checked, and its slices one by one.

A slice is ``np.take(volume, k, axis=volume.axis)``: the remaining axes stay in their order, so a mask is put
back with ``np.stack(masks, axis=volume.axis)``. Nothing is read or unfolded before the header's size claims
are checked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from nibabel.fileslice import fileslice
from numpy.typing import NDArray

from stages.base import Reason
from stages.batches import Frame
from stages.grid import Display
from stages.ingest.affine import lengths, plane_distances
from stages.ingest.faults import BadData
from stages.ingest.geometry import display, distance_fault, spacing
from stages.ingest.opened import check_pixels
from stages.ingest.options import IngestOptions
from stages.ingest.rescale import rescaled

DIMENSIONS: Final = 3
_CLEARLY: Final = 1.2  # the acquisition axis stands out where its spacing is this much the larger
_WIDEST_BYTES: Final = 8
_LPS_OF_RAS: Final = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Volume:
    """What the header says, checked."""

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset: int  # of the first voxel, in the unfolded stream
    slope: float
    intercept: float
    affine: NDArray[np.float64]  # voxel to RAS millimetres; not finite where nothing is known
    oriented: bool
    description: str
    known: tuple[bool, bool, bool] = (True, True, True)  # axes whose step is stated
    geometry_note: str = ""  # what in the header contradicts itself, and what was taken
    labels: bool = False  # its values are names of structures

    @cached_property
    def axis(self) -> int:
        """The axis that frames are counted along."""
        return axis_of(self.shape, self.affine)

    @property
    def frames(self) -> int:
        """How many slices the volume has."""
        return self.shape[self.axis]

    @property
    def in_plane(self) -> tuple[int, int]:
        """The axes of a slice's rows and columns."""
        first, second = (axis for axis in range(DIMENSIONS) if axis != self.axis)
        return first, second

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """Distance between pixel centres of a slice, row and column."""
        steps = lengths(self.affine)
        if not all(self.known[axis] for axis in self.in_plane):
            return None
        first, second = (float(steps[axis]) for axis in self.in_plane)
        return spacing((first, second))

    @property
    def pixel_area_mm2(self) -> float | None:
        """The area of a pixel of a slice; None where spacing is unknown."""
        if self.spacing_mm is None:
            return None
        first, second = (self.affine[:DIMENSIONS, axis] for axis in self.in_plane)
        return float(np.linalg.norm(np.cross(first, second)))

    @property
    def slice_distance_mm(self) -> float | None:
        """The distance between the planes of neighbouring slices, which a sheared volume's step exceeds."""
        if self.spacing_mm is None or not self.known[self.axis]:
            return None
        distance = float(plane_distances(self.affine)[self.axis])
        return None if distance_fault((distance,)) else distance

    @property
    def display(self) -> Display:
        """How to turn a slice to the standard view."""
        if not self.oriented or self.spacing_mm is None:
            return Display()
        down, right = (self.affine[:DIMENSIONS, axis] for axis in self.in_plane)
        return display(down * _LPS_OF_RAS, right * _LPS_OF_RAS)


def axis_of(shape: tuple[int, int, int], affine: NDArray[np.float64]) -> int:
    """The axis of acquisition: the one of clearly largest spacing, else the nearest to the long axis."""
    flat = [axis for axis, size in enumerate(shape) if size == 1]
    if len(flat) == 1:
        return flat[0]
    steps = affine[:3, :3]
    edges = lengths(affine)
    if not (np.isfinite(edges).all() and edges.all()):
        return 2
    if np.max(edges) > _CLEARLY * np.sort(edges)[1]:
        return int(np.argmax(edges))
    return int(np.argmax(np.abs(steps[2]) / edges))


def check_layout(shape: Sequence[int], dtype: np.dtype[Any]) -> None:
    """Refuse what is no volume of one grey value a voxel."""
    if any(extra > 1 for extra in shape[DIMENSIONS:]):
        shown = tuple(shape)
        detail = f"The image has {len(shown)} dimensions {shown}; save each volume as a file of its own."
        raise BadData(Reason.UNSUPPORTED, detail)
    if not shape or any(size < 1 for size in shape):
        raise BadData(Reason.CORRUPT, f"The header gives the impossible dimensions {tuple(shape)}.")
    if dtype.kind not in "iuf" or dtype.itemsize > _WIDEST_BYTES:
        raise BadData(Reason.UNSUPPORTED, f"Voxels of type {dtype} are not read; save as integers or floats.")


def padded_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """With one slice, or one row, where there are fewer dimensions."""
    first, second, third = (int(size) for size in (*shape[:DIMENSIONS], 1, 1, 1)[:DIMENSIONS])
    return first, second, third


def check_size(volume: Volume, most_bytes: int, options: IngestOptions) -> None:
    """Refuse a volume that the file cannot hold, or that is over a limit."""
    end = volume.offset + math.prod(volume.shape) * volume.dtype.itemsize
    if volume.offset < 0 or end > most_bytes:
        raise BadData(Reason.TRUNCATED, f"The header claims {end} bytes, more than the file can hold.")
    height, width = (volume.shape[axis] for axis in volume.in_plane)
    check_pixels(height, width, options.max_pixels)
    if end > options.max_file_bytes:
        detail = f"The volume has {end} bytes; the limit is {options.max_file_bytes} (ingest.max_file_bytes)."
        raise BadData(Reason.TOO_LARGE, detail)


def slices(volume: Volume, stream: Any, wanted: Sequence[int]) -> Callable[[int], Frame]:
    """The wanted slices, read once from a stream that can seek; the others raise."""
    low, high = min(wanted), max(wanted) + 1
    if high > volume.frames:
        raise BadData(Reason.CORRUPT, "The volume has fewer slices than it had when it was found.")
    rows = [slice(None)] * DIMENSIONS
    rows[volume.axis] = slice(low, high)
    slab = fileslice(  # type: ignore[no-untyped-call]  # nibabel does not annotate it
        stream, tuple(rows), volume.shape, volume.dtype, volume.offset, order="F"
    )
    spacing_mm, turned = volume.spacing_mm, volume.display

    def frame(k: int) -> Frame:
        # A view: ``np.take`` copies against the grain of Fortran order, ten times slower.
        stored_HW = np.moveaxis(slab, volume.axis, 0)[k - low]
        native_HW = np.ascontiguousarray(stored_HW, dtype=volume.dtype.newbyteorder("="))
        return Frame(rescaled(native_HW, volume.slope, volume.intercept), spacing_mm, turned)

    return frame
