"""Intensity: any modality's values to 0..1, percentile clipping, zero mean and unit variance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_VALUE = 1e30  # no modality's unit goes beyond; a float that does counts as not finite
LEAST_DEVIATION = 1e-6  # of values in 0..1; below it a standard deviation is rounding


def usable(image_HW: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Which pixels hold a value of the patient rather than NaN, the mark of padding; None where all do."""
    if image_HW.dtype.kind != "f":
        return None
    limit = LARGEST_VALUE if float(np.finfo(image_HW.dtype).max) > LARGEST_VALUE else np.inf
    usable_HW: NDArray[np.bool_] = np.abs(image_HW) < limit  # False for NaN
    return None if usable_HW.all() else usable_HW


def unit_range(image_HW: NDArray[Any]) -> NDArray[np.floating[Any]] | None:
    """Values scaled so that the least is 0 and the greatest 1; None where all are equal or none is finite.

    What is not finite becomes 0.
    """
    if image_HW.dtype.kind != "f":
        low, high = int(image_HW.min()), int(image_HW.max())
        if low == high:
            return None
        # float32 holds 16-bit integers exactly; wider ones are subtracted in float64.
        narrow = image_HW.dtype.itemsize <= 2  # noqa: PLR2004  bytes of 16 bits
        exact_HW: NDArray[np.floating[Any]] = image_HW.astype(np.float32 if narrow else np.float64)
        return (exact_HW - low) / (high - low)
    usable_HW = usable(image_HW)
    values = image_HW if usable_HW is None else image_HW[usable_HW]
    if values.size == 0:
        return None
    low, high = values.min(), values.max()
    if not high > low:
        return None
    filled_HW = image_HW if usable_HW is None else np.where(usable_HW, image_HW, low)
    filled_HW = filled_HW.astype(np.float64)
    return (filled_HW - float(low)) / (float(high) - float(low))


def clip_percentiles(
    unit_HW: NDArray[np.float32], of_HW: NDArray[np.bool_], low: float, high: float
) -> NDArray[np.float32]:
    """Clipped at two percentiles of the pixels ``of_HW`` and stretched to 0..1; as it was where they meet."""
    bottom, top = np.percentile(unit_HW[of_HW], (low, high))
    if not top > bottom:
        return unit_HW
    stretched_HW: NDArray[np.float32] = (unit_HW - np.float32(bottom)) / np.float32(top - bottom)
    return stretched_HW.clip(0, 1)


def zscore(unit_HW: NDArray[np.float32], of_HW: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Less the mean, over the standard deviation, both of the pixels ``of_HW``; zero where they are equal."""
    values = unit_HW[of_HW]
    deviation = float(values.std())
    if deviation < LEAST_DEVIATION:
        return np.zeros_like(unit_HW)
    return (unit_HW - np.float32(values.mean())) / np.float32(deviation)
