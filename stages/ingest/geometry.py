"""Directions in the patient: from stored pixels to the standard view.

Patient coordinates are DICOM's LPS (PS3.3 section C.7.6.2.1.1): x to the left, y to posterior, z to the
head. The standard view of a near-axial slice has rows running to posterior and columns to the left.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from stages.grid import PLAUSIBLE_SPACING_MM, Display

AXIAL_DEGREES: Final = 30.0  # a slice tilted further from axial is shown as stored
_LEAST_COSINE: Final = math.cos(math.radians(AXIAL_DEGREES))
_DISTANCE_MM: Final = (0.01, 100.0)  # between planes; outside lies no medical image, but a header's mistake
_LEFT, _POSTERIOR, _HEAD = range(3)


def display(down_lps: ArrayLike, right_lps: ArrayLike) -> Display:
    """How to turn a slice whose stored rows run along ``down_lps`` and columns along ``right_lps``."""
    down, right = (np.asarray(step, np.float64) for step in (down_lps, right_lps))
    normal = np.cross(right, down)
    length = float(np.linalg.norm(normal))
    if not (length > 0 and abs(normal[_HEAD]) >= _LEAST_COSINE * length):
        return Display()
    transpose = bool(abs(right[_POSTERIOR]) > abs(down[_POSTERIOR]))
    if transpose:
        down, right = right, down
    return Display(transpose, bool(down[_POSTERIOR] < 0), bool(right[_LEFT] < 0))


def spacing(values_mm: tuple[float, ...] | None) -> tuple[float, float] | None:
    """Row and column spacing, or None where they are no believable millimetres."""
    if values_mm is None or spacing_fault(values_mm):
        return None
    row, column = values_mm
    return row, column


def spacing_fault(values_mm: tuple[float, ...]) -> str:
    """What is wrong with distances of pixels, as the end of a sentence; empty where they are believable."""
    return _fault(values_mm, PLAUSIBLE_SPACING_MM)


def distance_fault(values_mm: tuple[float, ...]) -> str:
    """The same of distances that may be those of planes, which lie further apart."""
    return _fault(values_mm, _DISTANCE_MM)


def _fault(values_mm: tuple[float, ...], span_mm: tuple[float, float]) -> str:
    shown = " by ".join(f"{value:g}" for value in values_mm)
    low, high = span_mm
    if not all(map(math.isfinite, values_mm)):
        return f"{shown} mm, no finite number"
    if any(value == 0 for value in values_mm):
        return f"{shown} mm, zero"
    if any(value < 0 for value in values_mm):
        return f"{shown} mm, negative"
    return "" if all(low <= value <= high for value in values_mm) else f"{shown} mm, beyond any medical image"
