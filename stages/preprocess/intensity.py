"""Intensity: any modality's values to 0..1, percentile clipping, zero mean and unit variance."""

from __future__ import annotations

from typing import Any

import cv2
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
    """Values scaled so that the least is 0 and the greatest 1; None where all are equal or none is usable.

    What is not usable becomes 0.
    """
    usable_HW = usable(image_HW)
    found = limits(image_HW, usable_HW)
    return None if found is None else to_unit(image_HW, usable_HW, *found)


def limits(image_HW: NDArray[Any], usable_HW: NDArray[np.bool_] | None) -> tuple[float, float] | None:
    """The least and the greatest of the usable values; None where they are one, or where there is none."""
    values = image_HW if usable_HW is None else image_HW[usable_HW]
    if values.size == 0:
        return None
    exact = float if image_HW.dtype.kind == "f" else int
    low, high = exact(values.min()), exact(values.max())
    return (low, high) if high > low else None


def to_unit(
    image_HW: NDArray[Any], usable_HW: NDArray[np.bool_] | None, low: float, high: float
) -> NDArray[np.floating[Any]]:
    """Values scaled so that the limits ``low`` and ``high`` become 0 and 1; what is not usable becomes 0."""
    # float32 holds 16-bit integers exactly; wider ones, and floats, are subtracted in float64.
    narrow = image_HW.dtype.kind != "f" and image_HW.dtype.itemsize <= 2  # noqa: PLR2004  bytes of 16 bits
    filled_HW = image_HW if usable_HW is None else np.where(usable_HW, image_HW, low)
    unit_HW: NDArray[np.floating[Any]] = filled_HW.astype(np.float32 if narrow else np.float64)
    unit_HW -= low
    unit_HW /= high - low
    return unit_HW


def clip_percentiles(
    unit_HW: NDArray[np.float32], of_HW: NDArray[np.bool_], low: float, high: float
) -> NDArray[np.float32]:
    """Clipped at two percentiles of the pixels ``of_HW`` and stretched to 0..1; to 0..1 where they meet."""
    values_P = unit_HW.ravel() if of_HW.all() else unit_HW[of_HW]
    bottom, top = percentile(values_P, low), percentile(values_P, high)
    if not top > bottom:
        return np.clip(unit_HW, 0, 1)
    stretched_HW = unit_HW - np.float32(bottom)
    stretched_HW /= np.float32(top - bottom)
    return np.clip(stretched_HW, 0, 1, out=stretched_HW)


def percentile(values_P: NDArray[np.float32], percent: float) -> float:
    """``numpy.percentile`` (linear) by one partition, which NumPy has vectorised; its own makes several."""
    at = (values_P.size - 1) * percent / 100
    below = int(at)
    parted_P = np.partition(values_P, below)
    lower = float(parted_P[below])
    if at == below:
        return lower
    return lower + (float(parted_P[below + 1 :].min()) - lower) * (at - below)


def zscore(
    field_HW: NDArray[np.uint8 | np.float32], of_HW: NDArray[np.bool_], unit: float
) -> tuple[float, float]:
    """Slope and intercept that give the pixels ``of_HW`` mean 0 and deviation 1; zeros where they are equal.

    ``unit`` is what 1 of 0..1 is on the field: below ``LEAST_DEVIATION`` of it a deviation is rounding.
    """
    mean, deviation = (float(one[0, 0]) for one in cv2.meanStdDev(field_HW, mask=of_HW.view(np.uint8)))
    if deviation < LEAST_DEVIATION * unit:
        return 0.0, 0.0
    return 1 / deviation, -mean / deviation
