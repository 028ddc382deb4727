"""Preprocess: decoded frames to the network's input, with neighbours as channels.

Each step is a pure function on the field and is switched by one option. Intensities live in 0..1 until
the last step, whatever the modality's unit. A frame is prepared once and stacked up to three times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from stages.base import Reason, Reject, Split
from stages.batches import Frame, Frames, Prepared, Rows, same_stack
from stages.grid import Grid
from stages.preprocess.background import foreground
from stages.preprocess.contrast import equalise
from stages.preprocess.grid import grid_of, inside, to_field
from stages.preprocess.intensity import clip_percentiles, unit_range, usable, zscore
from stages.preprocess.options import PreprocessOptions

LEAST_SIDE = 8  # pixels; a smaller image shows no anatomy

Slice = tuple[NDArray[np.float32], Grid]


@dataclass(frozen=True, slots=True)
class Preprocess:
    """Frames to Prepared: channels are the previous, the same and the next slice of a stack."""

    options: PreprocessOptions = field(default_factory=PreprocessOptions)
    name: ClassVar[str] = "preprocess"

    @contextmanager
    def open(self) -> Iterator[Callable[[Frames], Split[Prepared]]]:
        """Yield the batch function, on one thread: a field is too small to share out.

        More would spin beside the other stages (45 times the CPU time on two busy cores).
        """
        cv2.setNumThreads(1)
        with threadpool_limits(1, user_api="blas"):
            yield self._run

    def _run(self, frames: Frames) -> Split[Prepared]:
        kept: list[int] = []
        rejected: list[Reject] = []
        slices: list[Slice] = []
        for row, frame in enumerate(frames.frames):
            prepared = prepare(frame, self.options)
            if isinstance(prepared, str):
                rejected.append(Reject(frames.rows.keys[row], self.name, Reason.DEGENERATE, prepared))
            else:
                kept.append(row)
                slices.append(prepared)
        rows = frames.rows.take(kept)
        first = bool(kept) and same_stack(frames.rows, 0, kept[0])
        last = bool(kept) and same_stack(frames.rows, len(frames) - 1, kept[-1])
        before = self._context(frames.before) if first else None
        after = self._context(frames.after) if last else None
        x_NHW = [x_HW for x_HW, _ in slices]
        x_NCHW = with_neighbours(x_NHW, rows, before, after, self.options.size)
        return Split(Prepared(rows, x_NCHW, tuple(grid for _, grid in slices)), tuple(rejected))

    def _context(self, frame: Frame | None) -> NDArray[np.float32] | None:
        """A cut's neighbour, prepared; None where there is none to see."""
        prepared = "" if frame is None else prepare(frame, self.options)
        return None if isinstance(prepared, str) else prepared[0]


def prepare(frame: Frame, options: PreprocessOptions) -> Slice | str:
    """One slice on the field with its way back, or the sentence that says why there is nothing to see."""
    height, width = frame.image.shape
    if min(height, width) < LEAST_SIDE:
        return f"The image has {height} by {width} pixels; the least is {LEAST_SIDE} a side."
    unit_HW = unit_range(frame.image)
    if unit_HW is None:
        return "All pixels have one value, or none is finite."
    grid = grid_of(frame, options.size, options.spacing_mm)
    seen_HW = inside(grid, options.size)
    field_HW = to_field(unit_HW, grid, options.size)
    usable_HW = usable(frame.image)
    if usable_HW is not None:
        field_HW, seen_HW = without_padding(field_HW, seen_HW, usable_HW, grid, options.size)
    if not seen_HW.any():
        return f"The image is too narrow for the field, or padding there: {height} by {width} pixels."
    return normalise(field_HW, seen_HW, options), grid


def without_padding(
    field_HW: NDArray[np.float32],
    seen_HW: NDArray[np.bool_],
    usable_HW: NDArray[np.bool_],
    grid: Grid,
    size: int,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The field, and which of it is seen, of an image whose pixels outside ``usable_HW`` count as zero.

    A field pixel is the mean of the pixels that it looks at without the padding among them, and is seen
    where most of them are none. Otherwise tissue would fade towards the padding.
    """
    cover_HW = to_field(usable_HW, grid, size)
    whole_HW = to_field(np.ones_like(usable_HW), grid, size)
    kept_HW = seen_HW & (cover_HW > whole_HW / 2)
    share_HW = np.divide(whole_HW, cover_HW, out=np.zeros_like(cover_HW), where=kept_HW)
    return field_HW * share_HW, kept_HW


def normalise(
    unit_HW: NDArray[np.float32], seen_HW: NDArray[np.bool_], options: PreprocessOptions
) -> NDArray[np.float32]:
    """The intensity steps on the field; ``seen_HW`` tells the image from the border around it."""
    low, high = options.low_percentile, options.high_percentile
    patient_HW = seen_HW
    if options.remove_background:
        # Clipped first: one flare pixel would otherwise push all tissue under the threshold.
        patient_HW = foreground(clip_percentiles(unit_HW, seen_HW, low, high), seen_HW)
    x_HW = np.clip(clip_percentiles(unit_HW, patient_HW, low, high), 0, 1) * patient_HW
    if options.clahe_clip_limit > 0:
        x_HW = equalise(x_HW, options.clahe_clip_limit, options.clahe_tiles) * patient_HW
    return zscore(x_HW, patient_HW) if options.zscore else x_HW


def with_neighbours(
    x_NHW: Sequence[NDArray[np.float32]],
    rows: Rows,
    before_HW: NDArray[np.float32] | None,
    after_HW: NDArray[np.float32] | None,
    size: int,
) -> NDArray[np.float32]:
    """Stacked to (previous, self, next); a slice is its own neighbour where its stack ends."""
    count = len(x_NHW)
    x_NCHW = np.empty((count, 3, size, size), np.float32)
    for row, x_HW in enumerate(x_NHW):
        previous_HW = next_HW = x_HW
        if row > 0 and same_stack(rows, row - 1, row):
            previous_HW = x_NHW[row - 1]
        elif row == 0 and before_HW is not None:
            previous_HW = before_HW
        if row + 1 < count and same_stack(rows, row, row + 1):
            next_HW = x_NHW[row + 1]
        elif row + 1 == count and after_HW is not None:
            next_HW = after_HW
        x_NCHW[row] = previous_HW, x_HW, next_HW
    return x_NCHW
