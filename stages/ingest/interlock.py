"""Stacks whose slices lie evenly between one another's: two halves of one volume, as it seems.

A scanner acquires odd slices and then even ones. A mark that differs between the two (a filter, a time, a
turn by a degree) makes two stacks of them, each sound but for its distances. Whether they are one
volume or two phases between which the table moved, positions do not tell. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.doubt import Doubt
from stages.ingest.parallel import normal
from stages.ingest.slices import Slice, SliceStack

_PARALLEL: Final = math.cos(math.radians(5.0))
_LEAST_EACH: Final = 2  # slices of a stack
_LEAST_ALL: Final = 5  # slices of stacks that interlock
_EVEN: Final = 0.25  # of the usual distance
_MOST: Final = 0.8  # of the distances, and of the neighbours
_DIGITS: Final = 2  # of millimetres: stacks of the same places count once

_Depths = tuple[float, ...]


def doubted(stacks: Sequence[SliceStack]) -> tuple[SliceStack, ...]:
    """The stacks, those that interlock with others marked so; a doubt that one has already stays."""
    halves = _interlocked(stacks)
    return tuple(
        replace(stack, doubt=Doubt.INTERLOCKED) if row in halves and not stack.doubt else stack
        for row, stack in enumerate(stacks)
    )


def _interlocked(stacks: Sequence[SliceStack]) -> set[int]:
    """Which stacks lie evenly between others of nearly their orientation, in whatever frame of reference."""
    waiting = [row for row, stack in enumerate(stacks) if _is_placed(stack)]
    found: set[int] = set()
    while len(waiting) > 1:
        axis_3 = _axis(stacks[waiting[0]])
        near = [row for row in waiting if abs(float(_axis(stacks[row]) @ axis_3)) >= _PARALLEL]
        waiting = [row for row in waiting if row not in set(near)]
        of_places: dict[_Depths, list[int]] = {}
        for row in near:
            depths = sorted(round(float(_middle(one) @ axis_3), _DIGITS) for one in stacks[row].slices)
            of_places.setdefault(tuple(depths), []).append(row)
        for depths_ in _even_together(list(of_places)):
            found.update(of_places[depths_])
    return found


def _even_together(places: list[_Depths]) -> set[_Depths]:
    """Those that lie evenly between one another: all of them, or two."""
    if len(places) < 2 or _are_even(places):  # noqa: PLR2004
        return set(places) if len(places) > 1 else set()
    starts = np.array([one[0] for one in places])
    steps = np.array([float(np.median(np.diff(one))) for one in places])
    found: set[_Depths] = set()
    for row, (start, step) in enumerate(zip(starts, steps, strict=True)):
        if step <= 0:
            continue
        alike = abs(steps - step) <= _EVEN * step
        between = abs((starts - start) / step % 1 - 0.5) <= _EVEN
        for other in np.flatnonzero(alike & between).tolist():
            pair = [places[row], places[other]]
            if other > row and _are_even(pair):
                found.update(pair)
    return found


def _are_even(places: Sequence[_Depths]) -> bool:
    """Whether together they have even distances, and mostly neighbours of another stack."""
    merged = sorted((depth, row) for row, depths in enumerate(places) for depth in depths)
    gaps = np.diff([depth for depth, _ in merged])
    usual = float(np.median(gaps))
    even = bool((abs(gaps - usual) <= _EVEN * usual).mean() >= _MOST)
    changes = sum(one != other for (_, one), (_, other) in pairwise(merged))
    return len(merged) >= _LEAST_ALL and usual > 0 and even and changes >= _MOST * len(gaps)


def _is_placed(stack: SliceStack) -> bool:
    return len(stack.slices) >= _LEAST_EACH and all(normal(one) is not None for one in stack.slices)


def _axis(stack: SliceStack) -> NDArray[np.float64]:
    return np.array(normal(stack.slices[0]), np.float64)


def _middle(one: Slice) -> NDArray[np.float64]:
    """Where the image has its centre, [3]: slices turned in their plane differ in the first pixel."""
    cosines_23 = np.array(one.orientation, np.float64).reshape(2, 3)
    rows, columns = one.shape
    down_mm, right_mm = one.spacing_mm or (0.0, 0.0)
    half_2 = np.array([max(columns - 1, 0) * right_mm, max(rows - 1, 0) * down_mm]) / 2
    return np.array(one.position, np.float64) + half_2 @ cosines_23
