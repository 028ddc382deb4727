"""Stacks: the slices of a series that make one volume, each in anatomical order. Pure functions.

A series is what a scanner or an archive filed together: one volume mostly, but also the phases, echoes and
diffusion weights of the same places, a localiser beside the slices that it planned, or two slabs. Slices are
of one stack where they have one orientation, shape and pixel spacing, within tolerances, one image type, and
every place once. Where places repeat, the first mark that explains it divides them (``Acquisition``);
where none does, they are dealt out in the order of their numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from itertools import accumulate, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from stages.ingest.acquisition import Acquisition
from stages.ingest.slices import Slice

_COSINE: Final = 0.01  # of a direction cosine, about half a degree: orientations closer than this are one
_SPACING: Final = 0.01  # relative: pixel spacings closer than this are one
_MOST_KINDS: Final = 2048  # of orientations; beyond that each stands alone
_SAME_MM: Final = 1e-3  # positions closer than this are one place whatever the distance between slices is
# Closer than this share of the usual distance, and than so many millimetres, is one place:
_NEAR: Final = (0.1, 0.3)  # whatever the marks are
_SHIFTED: Final = (0.25, 1.0)  # where a mark tells them apart, since the patient or the table moved
_LEAST_NORMAL: Final = 0.5  # a shorter cross product of cosines is no normal
_LEAST_STACK: Final = 3  # slices that a mark has to leave together where it divides into many
_SPAN: Final = 0.8  # of the extent, and of the distances: a part that has them is a volume of its own
_DENSE: Final = 0.75  # of the places between its ends: a part that has them is whole, but for missing images
_PHASES: Final = 0.5  # of the places: where fewer are imaged again, slices were retaken
# Marks of the image itself, not of the order in which it was acquired.
_CONTRASTS: Final = tuple(
    map(Acquisition._fields.index, ("b_value", "echo", "echo_time", "inversion_time", "temporal_position"))
)
# Marks that grow while images are acquired.
_SEQUENCES: Final = tuple(
    map(Acquisition._fields.index, ("temporal_position", "number", "time", "content_time"))
)

_Placed = tuple[Slice, float]  # a slice and its depth along the normal of its stack, in millimetres


def stacked(slices: Sequence[Slice]) -> tuple[tuple[Slice, ...], ...]:
    """The stacks of a series in order of acquisition, each in the order of the body where that is known.

    Slices without position or orientation are ordered by number; the frames of a file stay together there.
    """
    placed: list[Slice] = []
    lost: list[Slice] = []
    for one in slices:
        (lost if _normal(one) is None else placed).append(one)
    found = [_slices(stack) for group in _geometries(placed) for stack in _stacks_of(group)]
    found += [
        tuple(sorted(group, key=_turn))
        for group in _grouped(lost, lambda one: (one.shape, one.place.path if one.frames > 1 else ""))
    ]
    return tuple(sorted(found, key=_rank))


def _normal(one: Slice) -> tuple[float, float, float] | None:
    """The unit normal of the slice's plane; None where position or orientation are of no use."""
    if one.position is None or one.orientation is None:
        return None
    (a, b, c), (d, e, f) = one.orientation[:3], one.orientation[3:]
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)  # np.cross takes fifty times as long
    length = math.hypot(*normal)
    if not (math.isfinite(length) and length >= _LEAST_NORMAL):  # a header may hold any number
        return None
    return (normal[0] / length, normal[1] / length, normal[2] / length)


def _geometries(slices: Sequence[Slice]) -> list[list[Slice]]:
    """By shape, pixel spacing and orientation; values that differ by less than a tolerance are one."""
    groups: list[list[Slice]] = []
    for same in _grouped(slices, lambda one: (one.shape, one.spacing_mm is None)):
        logs = [[math.log(value) for value in one.spacing_mm or (1.0, 1.0)] for one in same]
        for alike in _clusters(same, np.array(logs) / _SPACING):
            cosines = np.array([one.orientation for one in alike], np.float64)
            groups += _clusters(alike, cosines / _COSINE)
    return groups


def _clusters(slices: Sequence[Slice], values_NK: NDArray[np.float64]) -> list[list[Slice]]:
    """Groups linked by steps of at most one in every column, whatever the order of the slices."""
    kinds_UK, kind_of_N = np.unique(np.round(values_NK, 2), axis=0, return_inverse=True)
    labels_U = np.arange(len(kinds_UK))
    if 1 < len(kinds_UK) <= _MOST_KINDS:
        near_UU = np.abs(kinds_UK[:, None] - kinds_UK[None]).max(axis=2) <= 1
        labels_U = connected_components(near_UU, directed=False)[1]
    labels_N = labels_U[kind_of_N.ravel()]
    return [
        [slices[row] for row in np.flatnonzero(labels_N == label).tolist()] for label in np.unique(labels_N)
    ]


def _grouped(slices: Sequence[Slice], key: Callable[[Slice], Hashable]) -> list[list[Slice]]:
    groups: dict[Hashable, list[Slice]] = {}
    for one in slices:
        groups.setdefault(key(one), []).append(one)
    return list(groups.values())


def _stacks_of(group: Sequence[Slice]) -> list[list[_Placed]]:
    """The stacks among slices of one geometry."""
    normal = np.sum([normal for one in group if (normal := _normal(one)) is not None], axis=0)
    positions_N3 = np.array([one.position for one in group], np.float64)
    depths = (positions_N3 @ (normal / np.linalg.norm(normal))).tolist()
    placed = sorted(zip(group, depths, strict=True), key=lambda one: (one[1], _turn(one[0])))
    by_type = _divided(placed, Acquisition._fields.index("image_type"))
    return [stack for part in by_type for stack in _explained(part)]


def _explained(placed: list[_Placed]) -> list[list[_Placed]]:
    """Divided until every place stands once, by the first marks that explain why it was imaged again.

    Several images of one single place are no volume whatever tells them apart: they stay together, in the
    order of their marks. A contrast divides also where no place repeats, since the table moved by half a
    slice. Any other mark explains repeated places where each of its parts is a whole stack, or where parts
    in their order add up to whole stacks (a phase of two passes). A few retaken slices are no phases.
    """
    places = _places(placed, *_SHIFTED)
    times = np.bincount(places)
    if len(times) == 1:
        return [sorted(placed, key=lambda one: (_order(one[0]), _turn(one[0])))]
    by_contrast = (_divided(placed, mark) for mark in _CONTRASTS)
    found = next((parts for parts in by_contrast if _are_volumes(parts, placed)), None)
    if found is None and times.max() > 1:
        place_of = {one.key: place for (one, _), place in zip(placed, places, strict=True)}
        found = _by_mark(placed, place_of, times)
    if found is None:
        return [placed] if times.max() == 1 else _dealt(placed)
    return [stack for part in found for stack in _explained(part)]


def _by_mark(
    placed: list[_Placed], place_of: dict[bytes, int], times: NDArray[np.int64]
) -> list[list[_Placed]] | None:
    """Parts by the first mark that explains repeated places; None where none does."""
    marks = range(len(Acquisition._fields))
    divisions = {mark: parts for mark in marks if len(parts := _divided(placed, mark)) > 1}
    for parts in divisions.values():
        few = len(parts) <= times.max()
        large = np.median([len(part) for part in parts]) >= max(_LEAST_STACK, len(times) / 2)
        if (few or large) and _fewer(parts, place_of) and all(_is_dense(part, place_of) for part in parts):
            return parts
    if (times > 1).mean() < _PHASES:
        return None
    for mark in _SEQUENCES:
        whole = _added_up(mark, divisions.get(mark, []), place_of)
        covered = [len({place_of[one.key] for one, _ in part}) for part in whole]
        complete = 1 < len(whole) <= times.max() and min(covered) >= len(times) / 2
        if complete and _fewer(whole, place_of):
            return whole
    return None


def _are_volumes(parts: list[list[_Placed]], placed: list[_Placed]) -> bool:
    """Whether each part alone spans the whole extent at an even distance."""
    if len(parts) < 2:  # noqa: PLR2004
        return False
    extent_mm = placed[-1][1] - placed[0][1]
    for part in parts:
        gaps = np.diff([depth for _, depth in part])
        usual_mm = float(np.median(gaps)) if len(gaps) else 0.0
        even = abs(gaps - usual_mm) <= _NEAR[0] * usual_mm
        if len(part) < _LEAST_STACK or part[-1][1] - part[0][1] < _SPAN * extent_mm or even.mean() < _SPAN:
            return False
    return True


def _fewer(parts: list[list[_Placed]], place_of: dict[bytes, int]) -> bool:
    """Whether places repeat less often within the parts than in all."""
    repeated = sum(len(part) - len({place_of[one.key] for one, _ in part}) for part in parts)
    return repeated < sum(map(len, parts)) - len(set(place_of.values()))


def _is_dense(part: list[_Placed], place_of: dict[bytes, int]) -> bool:
    """Whether a part has nearly all places between its ends."""
    places = {place_of[one.key] for one, _ in part}
    return len(places) >= _DENSE * (max(places) - min(places) + 1)


def _added_up(mark: int, parts: list[list[_Placed]], place_of: dict[bytes, int]) -> list[list[_Placed]]:
    """Parts in the order of their mark, those of different places joined until a place comes again."""
    whole: list[list[_Placed]] = [[]]
    taken: set[int] = set()
    for part in sorted(parts, key=lambda part: _number(part[0][0].acquisition[mark])):
        here = {place_of[one.key] for one, _ in part}
        if taken & here:
            whole.append([])
            taken = set()
        whole[-1] += part
        taken |= here
    return [sorted(part, key=lambda one: (one[1], _turn(one[0]))) for part in whole]


def _divided(placed: list[_Placed], mark: int) -> list[list[_Placed]]:
    parts: dict[str, list[_Placed]] = {}
    for one in placed:
        parts.setdefault(one[0].acquisition[mark], []).append(one)
    return list(parts.values())


def _places(placed: list[_Placed], share: float, most_mm: float) -> list[int]:
    """The number of each slice's place, by depth, from 0."""
    gaps = [after - before for (_, before), (_, after) in pairwise(placed)]
    real = sorted(gap for gap in gaps if gap > _SAME_MM)
    # Of the larger half: where places repeat with a small shift, the smaller half are those shifts.
    usual_mm = real[len(real) * 3 // 4] if real else 0.0
    least_mm = max(_SAME_MM, min(share * usual_mm, most_mm))
    return list(accumulate((gap > least_mm for gap in gaps), initial=0))


def _dealt(placed: list[_Placed]) -> list[list[_Placed]]:
    """Images of repeated places that no mark tells apart, by their numbers.

    Numbers mostly run through all places and then begin anew: a stack ends where a place comes again, also
    where an image is missing. Else the first images of all places are the first stack, and so on.
    """
    places = _places(placed, *_NEAR)
    turns = sorted(zip(placed, places, strict=True), key=lambda one: _turn(one[0][0]))
    runs: list[dict[int, _Placed]] = [{}]
    nth: list[list[_Placed]] = []
    seen: dict[int, int] = {}
    for one, place in turns:
        if place in runs[-1]:
            runs.append({})
        runs[-1][place] = one
        seen[place] = seen.get(place, 0) + 1
        if seen[place] > len(nth):
            nth.append([])
        nth[seen[place] - 1].append(one)
    phases = len(runs) == len(nth) and sum(count > 1 for count in seen.values()) >= _PHASES * len(seen)
    found = [list(run.values()) for run in runs] if phases else nth
    return [sorted(stack, key=lambda one: one[1]) for stack in found]


def _slices(stack: list[_Placed]) -> tuple[Slice, ...]:
    return tuple(one for one, _ in stack)


def _turn(one: Slice) -> tuple[float, int, str, bytes]:
    """The order in which slices were numbered; of equal numbers, by the name of the file."""
    number = math.inf if one.instance is None else one.instance
    return (number, one.place.frame, one.place.path, one.key)


def _rank(stack: tuple[Slice, ...]) -> tuple[object, ...]:
    """The order of acquisition, independent of numbers and names as far as marks tell stacks apart."""
    return (min(map(_order, stack)), min(map(_turn, stack)))


def _order(one: Slice) -> tuple[tuple[float, str], ...]:
    """The marks in the order in which images are acquired; numbers by value."""
    a = one.acquisition
    marks = (a.number, a.temporal_position, a.phase, a.time, a.echo, a.echo_time, a.b_value, a.gradient)
    return tuple((_number(mark), mark) for mark in (*marks, a.dimensions, a.stack, a.image_type))


def _number(mark: str) -> float:
    try:
        value = float(mark)
    except ValueError:
        return math.inf
    return value if math.isfinite(value) else math.inf
