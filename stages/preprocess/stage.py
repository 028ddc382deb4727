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
from stages.batches import Frame, Frames, Packed, Prepared, Rows, same_stack
from stages.grid import Grid
from stages.preprocess.background import foreground
from stages.preprocess.contrast import LEVELS, equalise
from stages.preprocess.grid import grid_of, inside, resampled, within_view
from stages.preprocess.intensity import clip_percentiles, limits, to_unit, usable, zscore
from stages.preprocess.options import PreprocessOptions

LEAST_SIDE = 8  # pixels; a smaller image shows no anatomy


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice on the field, as ``field * slope + intercept``, and its way back."""

    field_HW: NDArray[np.uint8 | np.float32]
    slope: float
    intercept: float
    grid: Grid


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
        first = bool(kept) and same_stack(frames.rows, 0, kept[0])
        last = bool(kept) and same_stack(frames.rows, len(frames) - 1, kept[-1])
        before = self._context(frames.before) if first else None
        after = self._context(frames.after) if last else None
        return Split(self._packed(frames.rows.take(kept), slices, before, after), tuple(rejected))

    def _context(self, frame: Frame | None) -> Slice | None:
        """A cut's neighbour, prepared; None where there is none to see."""
        prepared = "" if frame is None else prepare(frame, self.options)
        return None if isinstance(prepared, str) else prepared

    def _packed(
        self, rows: Rows, slices: Sequence[Slice], before: Slice | None, after: Slice | None
    ) -> Prepared:
        fields = [*slices, *(one for one in (before, after) if one is not None)]
        size = self.options.size
        dtype = np.uint8 if self.options.in_levels else np.float32
        field_MHW = np.empty((len(fields), size, size), dtype)
        for number, one in enumerate(fields):
            field_MHW[number] = one.field_HW
        packed = Packed(
            field_MHW,
            np.array([one.slope for one in fields], np.float32),
            np.array([one.intercept for one in fields], np.float32),
            neighbours(rows, before is not None, after is not None),
        )
        return Prepared(rows, packed, tuple(one.grid for one in slices))


def prepare(frame: Frame, options: PreprocessOptions) -> Slice | str:
    """One slice on the field with its way back, or the sentence that says why there is nothing to see."""
    height, width = frame.image.shape
    if min(height, width) < LEAST_SIDE:
        return f"The image has {height} by {width} pixels; the least is {LEAST_SIDE} a side."
    usable_HW = usable(frame.image)
    found = limits(frame.image, usable_HW)
    if found is None:
        return "All pixels have one value, or none is finite."
    grid = grid_of(frame, options.size, options.spacing_mm)
    seen_HW = inside(grid, options.size)
    view_HW = within_view(frame.image, grid, options.size)
    if usable_HW is None:
        field_HW = resampled(to_unit(view_HW, None, *found), grid, options.size)
    else:
        usable_HW = within_view(usable_HW, grid, options.size)
        field_HW = resampled(to_unit(view_HW, usable_HW, *found), grid, options.size)
        field_HW, seen_HW = without_padding(field_HW, seen_HW, usable_HW, grid, options.size)
    if not seen_HW.any():
        return f"The image is too narrow for the field, or padding there: {height} by {width} pixels."
    return Slice(*normalise(field_HW, seen_HW, options), grid)


def without_padding(
    field_HW: NDArray[np.float32],
    seen_HW: NDArray[np.bool_],
    usable_HW: NDArray[np.bool_],
    grid: Grid,
    size: int,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The field, and which of it is seen, of a view whose pixels outside ``usable_HW`` count as zero.

    A field pixel is the mean of the pixels that it looks at without the padding among them, and is seen
    where most of them are none. Otherwise tissue would fade towards the padding.
    """
    cover_HW = resampled(usable_HW, grid, size)
    whole_HW = resampled(np.ones_like(usable_HW), grid, size)
    kept_HW = seen_HW & (cover_HW > whole_HW / 2)
    share_HW = np.divide(whole_HW, cover_HW, out=np.zeros_like(cover_HW), where=kept_HW)
    return field_HW * share_HW, kept_HW


def normalise(
    unit_HW: NDArray[np.float32], seen_HW: NDArray[np.bool_], options: PreprocessOptions
) -> tuple[NDArray[np.uint8 | np.float32], float, float]:
    """The intensity steps on the field: what stands there, and its slope and intercept.

    ``seen_HW`` tells the image from the border around it.
    """
    low, high = options.low_percentile, options.high_percentile
    patient_HW = seen_HW
    if options.remove_background:
        # Clipped first: one flare pixel would otherwise push all tissue under the threshold.
        patient_HW = foreground(clip_percentiles(unit_HW, seen_HW, low, high), seen_HW)
    x_HW: NDArray[np.uint8 | np.float32]
    x_HW = clip_percentiles(unit_HW, patient_HW, low, high) * patient_HW
    brightest = 1
    if options.in_levels:
        x_HW = equalise(x_HW, options.clahe_clip_limit, options.clahe_tiles) * patient_HW
        brightest = LEVELS
    slope, intercept = zscore(x_HW, patient_HW, brightest) if options.zscore else (1 / brightest, 0.0)
    return x_HW, slope, intercept


def neighbours(rows: Rows, before: bool, after: bool) -> NDArray[np.int64]:
    """The fields of (previous, self, next) for each row, [N, 3], where the rows' own fields come first.

    Then come the context before the first row and the one after the last, where there are such. A slice is
    its own neighbour where its stack ends.
    """
    count = len(rows)
    own_N = np.arange(count)
    channels_NC = np.stack([own_N] * 3, 1)
    for row in range(1, count):
        if same_stack(rows, row - 1, row):
            channels_NC[row, 0], channels_NC[row - 1, 2] = row - 1, row
    if before:
        channels_NC[0, 0] = count
    if after:
        channels_NC[-1, 2] = count + before
    return channels_NC
