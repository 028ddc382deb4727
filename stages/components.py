"""The large connected components of a binary volume, found slice by slice.

No more than two slices are in memory at once, so that a series of any length can be looked at as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Of the largest object's size: what is smaller is stray. A series may hold several phases, each a stack of
# its own with the same structure in it, so more than one object can be large.
LEAST: Final = 0.8


def large_components(count: int, mask_of: Callable[[int], NDArray[Any]]) -> Iterator[NDArray[np.bool_]]:
    """Each slice's pixels that belong to a large face-connected object of the volume, [H, W], in order.

    ``mask_of`` gives the slice of a number below ``count``, [H, W], non-zero inside; it is asked twice.
    Slices of different shapes do not touch.
    """
    flat: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]  # sizes of the objects within the slices
    links: list[NDArray[np.int64]] = [np.zeros((0, 2), np.int64)]  # between those of neighbouring slices
    firsts, first, before_HW = [], 1, np.zeros((0, 0), np.int64)
    for number in range(count):
        labels_HW = _labelled(mask_of(number))
        sizes = np.bincount(labels_HW.ravel())[1:]
        here_HW = np.where(labels_HW > 0, labels_HW + (first - 1), 0)
        if here_HW.shape == before_HW.shape:
            both_HW = (here_HW > 0) & (before_HW > 0)
            links.append(np.unique(np.stack((before_HW[both_HW], here_HW[both_HW]), 1), axis=0))
        flat.append(sizes)
        firsts.append(first)
        first, before_HW = first + len(sizes), here_HW
    large = _large(np.concatenate(flat), np.concatenate(links))
    for number, start in enumerate(firsts):
        labels_HW = _labelled(mask_of(number))
        yield np.append(False, large[start : start + labels_HW.max(initial=0)])[labels_HW]


def _labelled(mask_HW: NDArray[Any]) -> NDArray[np.int32]:
    """0 outside, 1, 2, 3 ... in the slice's face-connected objects."""
    labels_HW: NDArray[Any] = cv2.connectedComponents((mask_HW != 0).astype(np.uint8), connectivity=4)[1]
    return labels_HW.astype(np.int32, copy=False)


def _large(sizes: NDArray[np.int64], links: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the flat objects belong to a large object; number 0 is the background."""
    ends = (links[:, 0], links[:, 1])
    graph = coo_array((np.ones(len(links), np.bool_), ends), shape=(len(sizes), len(sizes)))
    count, object_of = connected_components(graph, directed=False)
    volumes = np.bincount(object_of, sizes, count)
    large: NDArray[np.bool_] = (volumes >= LEAST * volumes.max())[object_of]
    return large
