"""The masks of a stack, mended as a whole: stray objects, the islands and the holes of each slice.

Only a few slices are in memory at once, so that a series of any length can be processed as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Of the largest object's size: what is smaller is stray. A series may hold several phases, each a stack of
# its own with the same structure in it, so more than one object can be large.
LEAST: Final = 0.8
# Of a slice's largest area: a smaller island or hole of it is an error of the network, not anatomy.
SMALL: Final = 0.05
# Empty slices that a structure may have in it: the network can miss a slice or two of a gland.
BRIDGED: Final = 2
# Of their union, what two slices share at least if they are parts of one structure with empty slices between.
ALIKE: Final = 0.25

Corner = tuple[int, int]  # row and column of a slice's first pixel, in pixels common to the stack


def mended(
    count: int, mask_of: Callable[[int], NDArray[Any]], corners: Sequence[Corner] = (), *, largest: bool
) -> Iterator[tuple[NDArray[np.bool_], int]]:
    """Each slice without its small islands and holes, [H, W], in order.

    Where ``largest`` is set, first without what belongs to no large object of the stack; so many pixels
    are the second value. See ``small_components`` for the other parameters.
    """
    small = small_components(count, mask_of, corners) if largest else repeat(None, count)
    for number, small_HW in enumerate(small):
        mask_HW = mask_of(number) != 0
        if small_HW is None:
            yield without_islands(mask_HW), 0
        else:
            yield without_islands(mask_HW & ~small_HW), int(np.count_nonzero(small_HW))


def small_components(
    count: int, mask_of: Callable[[int], NDArray[Any]], corners: Sequence[Corner] = ()
) -> Iterator[NDArray[np.bool_] | None]:
    """Each slice's pixels of connected objects of the volume that are not large, [H, W], in order.

    None where a slice has no such pixel. ``mask_of`` gives the slice of a number below ``count``, [H, W],
    non-zero inside; it may be called twice. ``corners`` has one for each slice; where none are given all
    slices have the same. Objects are connected by faces, and across at most ``BRIDGED`` slices
    without any object where they are alike. Slices of different shapes do not touch.
    """
    corners = corners or [(0, 0)] * count
    flat: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]  # sizes of the objects within the slices
    links: list[NDArray[np.int64]] = [np.zeros((0, 2), np.int64)]  # between those of neighbouring slices
    firsts, first, before, empty = [], 1, None, 0
    for number, corner in enumerate(corners):
        here = _labelled(mask_of(number), first, corner)
        firsts.append(first)
        if not len(here.sizes):
            empty += 1
            continue
        if before is not None and empty <= BRIDGED:
            links.append(_touching(before, here, ALIKE if empty else 0.0))
        flat.append(here.sizes)
        first, before, empty = first + len(here.sizes), here, 0
    small = ~_large(np.concatenate(flat), np.concatenate(links))
    for number, (start, stop) in enumerate(pairwise([*firsts, first])):
        if small[start:stop].any():
            found = _labelled(mask_of(number), start, corners[number])
            small_HW = np.zeros(found.shape, np.bool_)
            small_HW[found.box] = np.append(False, small[start:stop])[found.labels]
            yield small_HW
        else:
            yield None


def without_islands(mask_HW: NDArray[Any]) -> NDArray[np.bool_]:
    """The slice without its small face-connected islands, and with its small holes filled, [H, W].

    Small is below ``SMALL`` of the area of the slice's largest island. A hole is background that the
    structure encloses; what only meets at corners is two islands, and what touches the frame is no hole.
    """
    clean_HW: NDArray[np.bool_] = mask_HW != 0
    left, top, width, height = cv2.boundingRect(clean_HW.view(np.uint8))
    box_HW = clean_HW[top : top + height, left : left + width]
    if not box_HW.size:
        return clean_HW
    labels_HW, sizes = _sizes(box_HW, connectivity=4)
    least = SMALL * sizes[1:].max()
    if len(sizes) > 2:  # noqa: PLR2004  more than the background and one island
        box_HW &= (sizes >= least)[labels_HW] & (labels_HW > 0)
    outside_HW = cv2.copyMakeBorder((~box_HW).view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    labels_HW, sizes = _sizes(outside_HW, connectivity=8)
    if len(sizes) > 2:  # noqa: PLR2004  more than the structure and what lies around it
        holes = sizes < least
        holes[[0, labels_HW[0, 0]]] = False
        box_HW |= holes[labels_HW[1:-1, 1:-1]]
    return clean_HW


@dataclass(frozen=True, slots=True)
class _Objects:
    """The face-connected objects of one slice, numbered over the volume from ``first``."""

    shape: tuple[int, ...]
    corner: Corner  # of the rectangle that holds them, within the slice
    place: Corner  # of that rectangle, in the stack
    labels: NDArray[np.int32]  # [h, w], from 1 within the slice, 0 outside
    sizes: NDArray[np.int64]
    first: int

    @property
    def box(self) -> tuple[slice, slice]:
        """Where ``labels`` lies in the slice."""
        (top, left), (height, width) = self.corner, self.labels.shape
        return slice(top, top + height), slice(left, left + width)


def _labelled(mask_HW: NDArray[Any], first: int, corner: Corner) -> _Objects:
    inside_HW = (mask_HW != 0).view(np.uint8)
    left, top, width, height = cv2.boundingRect(inside_HW)
    cut_HW = inside_HW[top : top + height, left : left + width]
    if not cut_HW.size:
        nothing = np.zeros((0, 0), np.int32)
        return _Objects(mask_HW.shape, (0, 0), corner, nothing, np.zeros(0, np.int64), first)
    labels_HW, sizes = _sizes(cut_HW, connectivity=4)
    place = (corner[0] + top, corner[1] + left)
    return _Objects(mask_HW.shape, (top, left), place, labels_HW, sizes[1:], first)


def _sizes(mask_HW: NDArray[Any], connectivity: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Each pixel's object, [H, W], and how many pixels each has, the background (number 0) first."""
    byte_HW = mask_HW.view(np.uint8)
    count, found_HW = cv2.connectedComponents(byte_HW, connectivity=connectivity)
    labels_HW = np.asarray(found_HW, np.int32)
    if count > 2:  # noqa: PLR2004  one object and the background are counted faster
        return labels_HW, np.bincount(labels_HW.ravel(), minlength=count).astype(np.int64)
    inside = cv2.countNonZero(byte_HW)
    return labels_HW, np.array([byte_HW.size - inside, inside][:count], np.int64)


def _touching(one: _Objects, other: _Objects, alike: float) -> NDArray[np.int64]:
    """The pairs of objects of two slices that share a pixel, and this part of their union, [K, 2]."""
    nothing = np.zeros((0, 2), np.int64)
    if one.shape != other.shape:
        return nothing
    corner = np.maximum(one.place, other.place)
    end = np.minimum(np.add(one.place, one.labels.shape), np.add(other.place, other.labels.shape))
    if (end <= corner).any():
        return nothing
    cuts = []
    for here in (one, other):
        (top, left), (bottom, right) = corner - here.place, end - here.place
        cuts.append(here.labels[top:bottom, left:right])
    both = np.logical_and(*cuts)
    if len(one.sizes) == len(other.sizes) == 1:
        shared = np.count_nonzero(both)
        meet = shared and shared >= alike * (one.sizes[0] + other.sizes[0] - shared)
        return np.array([[one.first, other.first]]) if meet else nothing
    most = len(other.sizes) + 1
    # Of single numbers, not of rows: ten times faster.
    numbers = cuts[0][both].astype(np.int64) * most + cuts[1][both]
    pairs, shared_K = np.unique(numbers, return_counts=True)
    upper, lower = np.divmod(pairs, most)
    meet = shared_K >= alike * (one.sizes[upper - 1] + other.sizes[lower - 1] - shared_K)
    found: NDArray[np.int64] = np.stack((upper + one.first - 1, lower + other.first - 1), 1)[meet]
    return found


def _large(sizes: NDArray[np.int64], links: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the flat objects belong to a large object; number 0 is the background."""
    ends = (links[:, 0], links[:, 1])
    graph = coo_array((np.ones(len(links), np.bool_), ends), shape=(len(sizes), len(sizes)))
    count, object_of = connected_components(graph, directed=False)
    volumes = np.bincount(object_of, sizes, count)
    large: NDArray[np.bool_] = (volumes >= LEAST * volumes.max())[object_of]
    return large
