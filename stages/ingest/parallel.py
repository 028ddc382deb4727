"""Parallel slices behind one another: of one shape, pixel spacing and orientation, within tolerances.

Values that are close are linked by way of the cells of a grid, so that time and memory grow with the number
of slices only, and their order does not matter. Links make chains: the planes of a radial series each differ
little from the next. So a group that is wider than the tolerance is linked again more finely, at last by
equality, and all slices of a group are parallel to one another. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from stages.ingest.slices import Slice

_COSINE: Final = 0.01  # of a direction cosine, about half a degree: orientations closer than this are one
_SPACING: Final = 0.01  # relative: pixel spacings closer than this are one
_FINER: Final = 0.1  # of the tolerance: links within a group that is too wide
_DIGITS: Final = 2  # of a value in tolerances: what differs beyond is rounding
_BEHIND: Final = (
    0.6  # of an image's width and height: what is shifted by less lies behind it, by twice that beside
)
_FAN: Final = 10.0  # tolerances, about six degrees: orientations closer than this may be one fan
_LEAST_FAN: Final = 3  # orientations
_LEAST_PLACES: Final = 3  # of a stack that may stand in a fan, as blocks of slices at a spine do
_SAME_PLACE_MM: Final = 0.1
_LEAST_NORMAL: Final = 0.5  # a shorter cross product of cosines is no normal


def normal(one: Slice) -> tuple[float, float, float] | None:
    """The unit normal of the slice's plane; None where position or orientation are of no use."""
    if one.position is None or one.orientation is None:
        return None
    (a, b, c), (d, e, f) = one.orientation[:3], one.orientation[3:]
    found = (b * f - c * e, c * d - a * f, a * e - b * d)  # np.cross takes fifty times as long
    length = math.hypot(*found)
    if not (math.isfinite(length) and length >= _LEAST_NORMAL):  # a header may hold any number
        return None
    return (found[0] / length, found[1] / length, found[2] / length)


def grouped(slices: Sequence[Slice], key: Callable[[Slice], Hashable]) -> list[list[Slice]]:
    """By a value that is the same or is not."""
    groups: dict[Hashable, list[Slice]] = {}
    for one in slices:
        groups.setdefault(key(one), []).append(one)
    return list(groups.values())


def depths_mm(slices: Sequence[Slice]) -> NDArray[np.float64]:
    """Where parallel slices that have a normal lie along it, [N]."""
    sum_3 = np.sum([one for each in slices if (one := normal(each)) is not None], axis=0)
    positions_N3 = np.array([one.position for one in slices], np.float64)
    depths: NDArray[np.float64] = positions_N3 @ (sum_3 / np.linalg.norm(sum_3))
    return depths


def parallel(slices: Sequence[Slice]) -> list[tuple[list[Slice], bool]]:
    """Groups of parallel slices, all of which have a normal; and whether a group is a plane of a fan."""
    found: list[tuple[list[Slice], bool]] = []
    for same in grouped(slices, lambda one: (one.shape, one.spacing_mm is None)):
        logs_N2 = np.log([one.spacing_mm or (1.0, 1.0) for one in same])
        for spaced in clusters(logs_N2 / _SPACING):
            alike = [same[row] for row in spaced]
            cosines_N6 = _cosines(alike)
            rows = clusters(cosines_N6 / _COSINE)
            groups = [[alike[row] for row in group] for group in rows]
            means_G6 = np.array([cosines_N6[group].mean(axis=0) for group in rows])
            turned_G = _in_fans(groups, means_G6)
            for group, mean_6, turned in zip(groups, means_G6, turned_G, strict=True):
                found += [(column, turned) for column in _columns(group, mean_6)]
    return found


def _columns(group: list[Slice], mean_6: NDArray[np.float64]) -> list[list[Slice]]:
    """Parallel slices that lie behind one another, not side by side.

    Images are linked where they cover one another well; so a stack may lean, slice by slice.
    """
    rows, columns = group[0].shape
    down_mm, right_mm = group[0].spacing_mm or (0.0, 0.0)
    reach_2 = _BEHIND * np.array([columns * right_mm, rows * down_mm])
    if not reach_2.all():
        return [group]
    corners_N2 = np.array([one.position for one in group], np.float64) @ mean_6.reshape(2, 3).T
    kinds_U2, kind_of_N = np.unique(np.round(corners_N2 / reach_2, _DIGITS), axis=0, return_inverse=True)
    labels_N = _linked(kinds_U2, 1.0)[kind_of_N.ravel()]
    return [[group[row] for row in rows_] for rows_ in _rows_of(labels_N)]


def _rows_of(labels_N: NDArray[np.int64]) -> list[list[int]]:
    """The rows of each label."""
    order = np.argsort(labels_N, kind="stable")
    cuts = np.flatnonzero(np.diff(labels_N[order])) + 1
    return [part.tolist() for part in np.split(order, cuts)]


def clusters(values_NK: NDArray[np.float64]) -> list[list[int]]:
    """Rows whose values, in tolerances, differ by at most one in every column from those of their group.

    What differs by less is in one group, unless others make a chain of it.
    """
    kinds_UK, kind_of_N = np.unique(np.round(values_NK, _DIGITS), axis=0, return_inverse=True)
    if len(kinds_UK) == 1:
        return [list(range(len(values_NK)))]
    labels_U = _linked(kinds_UK, 1.0)
    wide_U = _too_wide(kinds_UK, labels_U)
    if wide_U.any():
        labels_U[wide_U] = labels_U.max() + 1 + _linked(kinds_UK[wide_U], _FINER)
        wide_U = _too_wide(kinds_UK, labels_U)
        labels_U[wide_U] = labels_U.max() + 1 + np.arange(int(wide_U.sum()))
    return _rows_of(labels_U[kind_of_N.ravel()])


def _linked(values_UK: NDArray[np.float64], step: float) -> NDArray[np.int64]:
    """The group of each: steps shorter than this link them, and none of twice the length do, [U]."""
    if len(values_UK) == 1:
        return np.zeros(1, np.int64)
    cells_CK, cell_of_U = np.unique(np.floor(values_UK / step), axis=0, return_inverse=True)
    pairs_P2 = KDTree(cells_CK).query_pairs(1.5, p=math.inf, output_type="ndarray")
    links = coo_array((np.ones(len(pairs_P2), np.bool_), pairs_P2.T), shape=(len(cells_CK),) * 2)
    labels: NDArray[np.int64] = connected_components(links, directed=False)[1][cell_of_U.ravel()]
    return labels.astype(np.int64)


def _too_wide(values_UK: NDArray[np.float64], labels_U: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each one's group is wider than the tolerance, [U]."""
    shape = (int(labels_U.max()) + 1, values_UK.shape[1])
    low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
    np.minimum.at(low, labels_U, values_UK)
    np.maximum.at(high, labels_U, values_UK)
    wide: NDArray[np.bool_] = ((high - low).max(axis=1) > 1)[labels_U]
    return wide


def _cosines(slices: Sequence[Slice]) -> NDArray[np.float64]:
    """Of rows and columns, each of length one, [N, 6]."""
    stated_N23 = np.array([one.orientation for one in slices], np.float64).reshape(-1, 2, 3)
    lengths_N2 = np.hypot(np.hypot(stated_N23[..., 0], stated_N23[..., 1]), stated_N23[..., 2])
    return (stated_N23 / lengths_N2[..., None]).reshape(-1, 6)


def _in_fans(groups: Sequence[Sequence[Slice]], means_G6: NDArray[np.float64]) -> list[bool]:
    """Which groups have only a plane or two and lie, by their orientation, beside several such groups."""
    few_G = np.array([_count_places(group) < _LEAST_PLACES for group in groups])
    labels_G = _linked(means_G6 / (_COSINE * _FAN), 1.0)
    beside_G = np.bincount(labels_G, few_G)[labels_G]
    turned: list[bool] = (few_G & (beside_G >= _LEAST_FAN)).tolist()
    return turned


def _count_places(group: Sequence[Slice]) -> int:
    return 1 + int((np.diff(np.sort(depths_mm(group))) > _SAME_PLACE_MM).sum())
