"""How much of the body each slice of a stack stands for, from the positions of the slices.

The volume of a structure is the sum of its areas, each times the extent of its slice: half the distance to
the slice before and half of that to the slice behind, along the normal. So a gap is bridged by its two
neighbours (the trapezoidal rule), whatever the order of the slices and however uneven their distances.
At an end of the stack the missing half is that of the other side, but no more than half the distance that
is usual there: what a wide gap would add, nobody has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.deliver.planes import Plane, Stack
from stages.doubt import Doubt

MM3_PER_ML: Final = 1000
LEAST_GAP_MM: Final = 1e-3
NEAR: Final = 9  # distances: so many tell what is usual at a place
SAME_PLACE: Final = 0.01  # of the usual distance: closer slices are one place, imaged twice


def gaps_mm(depths_mm: Sequence[float]) -> NDArray[np.float64]:
    """Distances between neighbouring slices, [N - 1], whatever the order of the slices."""
    return np.diff(np.sort(np.asarray(depths_mm, np.float64)))


def usual_mm(gaps_mm_: NDArray[np.float64]) -> float:
    """The median: a rejected slice leaves a gap of twice the distance, which an average would feel."""
    return float(np.median(gaps_mm_))


def usual_near_mm(gaps_mm_: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of the ``NEAR`` distances around each, [N - 1]: a stack may change its distance half-way."""
    width = min(NEAR, len(gaps_mm_))
    medians = np.median(np.lib.stride_tricks.sliding_window_view(gaps_mm_, width), axis=1)
    starts = np.clip(np.arange(len(gaps_mm_)) - width // 2, 0, len(medians) - 1)
    near: NDArray[np.float64] = medians[starts]
    return near


def repeated(gaps_mm_: NDArray[np.float64]) -> bool:
    """Whether two slices lie in one place."""
    return bool(gaps_mm_.min() < max(LEAST_GAP_MM, SAME_PLACE * usual_mm(gaps_mm_)))


def extents_mm(depths_mm: Sequence[float]) -> NDArray[np.float64]:
    """What each of two or more slices stands for, [N], in the order given."""
    order = np.argsort(np.asarray(depths_mm, np.float64), kind="stable")
    between = gaps_mm(depths_mm)
    usual = usual_near_mm(between)
    before = np.concatenate(([min(between[0], usual[0])], between))
    behind = np.concatenate((between, [min(between[-1], usual[-1])]))
    extents = np.empty(len(order))
    extents[order] = (before + behind) / 2
    return extents


def depths_mm(stack: Stack) -> list[float] | None:
    """Where the slices lie along the normal; None where that is unknown for one of them."""
    known = [plane.depth_mm for plane in stack.planes if plane.depth_mm is not None]
    return known if len(known) == len(stack.planes) else None


def distance_mm(stack: Stack) -> float | None:
    """The usual distance between slices; for a single one what its header states."""
    if len(stack.planes) == 1:
        return stack.stated_gap_mm
    depths = depths_mm(stack)
    if depths is None or repeated(gaps_mm(depths)):
        return None
    return round(usual_mm(gaps_mm(depths)), 4)


def pixels(plane: Plane) -> int:
    """The size of the mask."""
    return int(np.bitwise_count(plane.result.mask.bits).sum())


def removed(plane: Plane) -> int:
    """The pixels of stray objects that the mask lost."""
    return plane.removed


def area_mm2(plane: Plane, size: Callable[[Plane], int] = pixels) -> float | None:
    """The size of the mask in the patient, or of so many pixels."""
    if plane.pixel_area_mm2 is None or not plane.result.spacing_known:
        return None
    return size(plane) * plane.pixel_area_mm2


def volume_ml(stack: Stack, size: Callable[[Plane], int] = pixels) -> float | None:
    """The volume of the structure in one stack; None where sizes or positions are unknown, or in a fan.

    ``size`` gives the pixels of a plane that count.
    """
    areas = [area for plane in stack.planes if (area := area_mm2(plane, size)) is not None]
    if len(areas) < len(stack.planes) or stack.id.doubt is Doubt.TURNED:
        return None
    if len(stack.planes) == 1:
        gap = stack.stated_gap_mm
        return None if gap is None else round(areas[0] * gap / MM3_PER_ML, 3)
    depths = depths_mm(stack)
    if stack.lack or depths is None or repeated(gaps_mm(depths)):
        return None
    return round(float(np.dot(areas, extents_mm(depths))) / MM3_PER_ML, 3)
