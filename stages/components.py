"""The large connected components of a binary volume, found slice by slice, and the islands of one slice.

No more than two slices are in memory at once, so that a series of any length can be processed as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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


def large_components(count: int, mask_of: Callable[[int], NDArray[Any]]) -> Iterator[NDArray[np.bool_]]:
    """Each slice's pixels that belong to a large face-connected object of the volume, [H, W], in order.

    ``mask_of`` gives the slice of a number below ``count``, [H, W], non-zero inside; it is called twice.
    Slices of different shapes do not touch.
    """
    flat: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]  # sizes of the objects within the slices
    links: list[NDArray[np.int64]] = [np.zeros((0, 2), np.int64)]  # between those of neighbouring slices
    firsts, first, before = [], 1, None
    for number in range(count):
        here = _labelled(mask_of(number), first)
        if before is not None:
            links.append(_touching(before, here))
        flat.append(here.sizes)
        firsts.append(first)
        first, before = first + len(here.sizes), here
    large = _large(np.concatenate(flat), np.concatenate(links))
    all_are = bool(large[1:].all())
    for number, start in enumerate(firsts):
        mask_HW = mask_of(number) != 0
        if not all_are:
            found = _labelled(mask_HW, start)
            mask_HW[found.box] = large[found.labels]
        yield mask_HW


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
    count, labels_HW, stats, _ = cv2.connectedComponentsWithStats(box_HW.view(np.uint8), connectivity=4)
    sizes = stats[1:, cv2.CC_STAT_AREA]
    least = SMALL * sizes.max()
    if count > 2:  # noqa: PLR2004  more than the background and one island
        box_HW &= np.append(False, sizes >= least)[labels_HW]
    outside_HW = cv2.copyMakeBorder((~box_HW).view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    count, labels_HW, stats, _ = cv2.connectedComponentsWithStats(outside_HW, connectivity=8)
    if count > 2:  # noqa: PLR2004  more than the structure and what lies around it
        holes = stats[:, cv2.CC_STAT_AREA] < least
        holes[[0, labels_HW[0, 0]]] = False
        box_HW |= holes[labels_HW[1:-1, 1:-1]]
    return clean_HW


@dataclass(frozen=True, slots=True)
class _Labelled:
    """The face-connected objects of one slice, numbered over the volume, in the rectangle that holds them."""

    shape: tuple[int, ...]
    corner: tuple[int, int]
    labels: NDArray[np.int64]  # [h, w], 0 outside
    sizes: NDArray[np.int64]

    @property
    def box(self) -> tuple[slice, slice]:
        """Where ``labels`` lies in the slice."""
        (top, left), (height, width) = self.corner, self.labels.shape
        return slice(top, top + height), slice(left, left + width)


def _labelled(mask_HW: NDArray[Any], first: int) -> _Labelled:
    """The objects, numbered from ``first``."""
    inside_HW = (mask_HW != 0).astype(np.uint8)
    left, top, width, height = cv2.boundingRect(inside_HW)
    cut_HW = inside_HW[top : top + height, left : left + width]
    if not cut_HW.size:
        nothing = np.zeros((0, 0), np.int64)
        return _Labelled(mask_HW.shape, (0, 0), nothing, nothing.ravel())
    labels_HW: NDArray[Any] = cv2.connectedComponents(cut_HW, connectivity=4)[1]
    sizes = np.bincount(labels_HW.ravel())[1:]
    return _Labelled(mask_HW.shape, (top, left), np.where(cut_HW, labels_HW + np.int64(first - 1), 0), sizes)


def _touching(one: _Labelled, other: _Labelled) -> NDArray[np.int64]:
    """The pairs of objects that share a pixel of two neighbouring slices, [K, 2]."""
    nothing = np.zeros((0, 2), np.int64)
    if one.shape != other.shape:
        return nothing
    corner = np.maximum(one.corner, other.corner)
    end = np.minimum(np.add(one.corner, one.labels.shape), np.add(other.corner, other.labels.shape))
    if (end <= corner).any():
        return nothing
    cuts = []
    for here in (one, other):
        (top, left), (bottom, right) = corner - here.corner, end - here.corner
        cuts.append(here.labels[top:bottom, left:right])
    both = (cuts[0] > 0) & (cuts[1] > 0)
    most = int(cuts[1].max()) + 1
    pairs = np.unique(
        cuts[0][both] * most + cuts[1][both]
    )  # of single numbers, not of rows: ten times faster
    return np.stack(np.divmod(pairs, most), 1)


def _large(sizes: NDArray[np.int64], links: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the flat objects belong to a large object; number 0 is the background."""
    ends = (links[:, 0], links[:, 1])
    graph = coo_array((np.ones(len(links), np.bool_), ends), shape=(len(sizes), len(sizes)))
    count, object_of = connected_components(graph, directed=False)
    volumes = np.bincount(object_of, sizes, count)
    large: NDArray[np.bool_] = (volumes >= LEAST * volumes.max())[object_of]
    return large
