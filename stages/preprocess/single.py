"""One decoded frame to one field. Each step is a pure function that one option switches.

Intensities live in 0..1 until the last step, whatever the modality's unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.batches import Frame
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
