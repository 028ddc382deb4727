"""Stacks: the slices of a series that make one volume, each in anatomical order. Pure functions.

A series is what a scanner or an archive filed together: one volume mostly, but also the phases, echoes and
diffusion weights of the same places, a localiser beside the slices that it planned, or two slabs. Slices are
of one stack where they have one modality and frame of reference, one orientation, shape and pixel spacing
within tolerances (``parallel``), one image type, and every place once. Where places repeat, the first mark
that explains it divides them (``Acquisition``); where none does, they are dealt out in the order of their
numbers (``passes``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.doubt import Doubt
from stages.ingest.acquisition import Acquisition
from stages.ingest.interlock import doubted
from stages.ingest.parallel import depths_mm, grouped, normal, parallel
from stages.ingest.passes import passes, side_by_side
from stages.ingest.ranking import number_of, order, rank, turn
from stages.ingest.slices import Slice, SliceStack

_SAME_MM: Final = 1e-3  # positions closer than this are one place whatever the distance between slices is
# Closer than this share of the usual distance, and than so many millimetres, is one place:
_NEAR: Final = (0.1, 0.3)  # whatever the marks are
_SHIFTED: Final = (0.25, 1.0)  # where a mark separates them, since the patient or the table moved
_LEAST_STACK: Final = 3  # slices that a mark has to leave together where it divides into many
_SPAN: Final = 0.8  # of the extent, and of the distances: a part that has them is a volume of its own
_DENSE: Final = 0.75  # of the places between its ends: a part that has them is whole, but for missing images
_PHASES: Final = 0.5  # of the places: where fewer are imaged again, slices were retaken
_IMAGE_TYPE: Final = Acquisition._fields.index("image_type")
_KIND: Final = (
    3  # values of Image Type that say what an image shows (PS3.3 section C.7.6.1.1.2), not its filters
)
# Marks of the image itself, not of the order in which it was acquired.
_CONTRASTS: Final = tuple(
    map(Acquisition._fields.index, ("b_value", "echo", "echo_time", "inversion_time", "temporal_position"))
)
_MEASURED: Final = tuple(map(Acquisition._fields.index, ("b_value", "echo_time", "inversion_time")))
_ROUNDING: Final = 0.01  # relative: measured values closer than this are one
# Marks that grow while images are acquired.
_SEQUENCES: Final = tuple(
    map(Acquisition._fields.index, ("temporal_position", "number", "time", "content_time"))
)

_Placed = tuple[Slice, float]  # a slice and its depth along the normal of its stack, in millimetres


def stacked(slices: Sequence[Slice]) -> tuple[SliceStack, ...]:
    """The stacks of a series in order of acquisition, each in the order of the body where that is known.

    Slices without position or orientation are ordered by number; the frames of a file stay together there.
    """
    found: list[SliceStack] = []
    for same in _by_statement(slices, lambda one: one.modality):
        placed: list[Slice] = []
        lost: list[Slice] = []
        for one in same:
            (lost if normal(one) is None else placed).append(one)
        for frame in _in_one_frame(placed) if placed else ():
            for group, turned in parallel(frame):
                found += _stacks_of(group, Doubt.TURNED if turned else Doubt.NONE)
        found += [
            SliceStack(tuple(sorted(group, key=turn)))
            for group in grouped(lost, lambda one: (one.shape, one.place.path if one.frames > 1 else ""))
        ]
    return doubted(sorted(found, key=rank))


def _by_statement(slices: Sequence[Slice], stated: Callable[[Slice], str]) -> list[list[Slice]]:
    """By what files state; those that state nothing belong to the others, where these all state the same."""
    if len({stated(one) for one in slices} - {""}) == 1:
        return [list(slices)]
    return grouped(slices, stated)


def _in_one_frame(slices: Sequence[Slice]) -> list[list[Slice]]:
    """By frame of reference: positions in different ones cannot be compared (PS3.3 section C.7.4.1).

    Where every file has one of its own, a de-identifier made them and they say nothing; the slices stay
    together, and delivery finds that they share none.
    """
    stating = [one for one in slices if one.frame_of_reference]
    files = len({one.place.path for one in stating})
    if files >= _LEAST_STACK and len({one.frame_of_reference for one in stating}) == files:
        return [list(slices)]
    return _by_statement(slices, lambda one: one.frame_of_reference)


def _stacks_of(group: Sequence[Slice], doubt: Doubt) -> list[SliceStack]:
    """The stacks among parallel slices."""
    depths = depths_mm(group).tolist()
    placed = sorted(zip(group, depths, strict=True), key=lambda one: (one[1], turn(one[0])))
    return [stack for part in _by_type(placed) for stack in _explained(part, doubt)]


def _by_type(placed: list[_Placed]) -> list[list[_Placed]]:
    """By image type; those that differ only in what was done to the image stay together where they interlock.

    They do where the slices of one lie between those of the other, and all together lie evenly.
    """
    kinds: dict[tuple[str, ...], list[_Placed]] = {}
    for one in placed:
        kinds.setdefault(tuple(one[0].acquisition.image_type.split("\\")[:_KIND]), []).append(one)
    found: list[list[_Placed]] = []
    for alike in kinds.values():
        parts = _divided(alike, _IMAGE_TYPE)
        types = [one.acquisition.image_type for one, _ in alike]
        changes = sum(one != other for one, other in pairwise(types))
        found += [alike] if changes >= len(parts) and _is_even(alike) else parts
    return found


def _explained(placed: list[_Placed], doubt: Doubt) -> list[SliceStack]:
    """Divided until every place stands once, by the first marks that explain why it was imaged again.

    Several images of one single place are no volume whatever separates them: they stay together, in the
    order of their marks. A contrast divides also where no place repeats, since the table moved by half a
    slice. Any other mark explains repeated places where each of its parts is a whole stack, or where parts
    in their order add up to whole stacks (a phase of two passes). A few retaken slices are no phases.
    """
    places = _places(placed, *_SHIFTED)
    times = np.bincount(places)
    if len(times) == 1:
        return [_stack(sorted(placed, key=lambda one: (order(one[0]), turn(one[0]))), doubt)]
    by_contrast = (_divided(placed, mark) for mark in _CONTRASTS)
    found = next((parts for parts in by_contrast if _are_volumes(parts, placed)), None)
    certain = True
    if found is None and times.max() > 1:
        place_of = {one.key: place for (one, _), place in zip(placed, places, strict=True)}
        found, certain = _by_mark(placed, place_of, times)
    if found is not None:
        below = doubt if certain else doubt or Doubt.ORDER
        return [stack for part in found for stack in _explained(part, below)]
    if times.max() == 1:
        return [_stack(placed, doubt)]
    return [_stack(stack, doubt or Doubt.ORDER) for stack in _dealt(placed)]


def _stack(placed: list[_Placed], doubt: Doubt) -> SliceStack:
    return SliceStack(tuple(one for one, _ in placed), doubt)


def _by_mark(
    placed: list[_Placed], place_of: dict[bytes, int], times: NDArray[np.int64]
) -> tuple[list[list[_Placed]] | None, bool]:
    """Parts by the first mark that explains repeated places; None where none does. And whether it is sure."""
    marks = range(len(Acquisition._fields))
    divisions = {mark: parts for mark in marks if len(parts := _divided(placed, mark)) > 1}
    for parts in divisions.values():
        few = len(parts) <= times.max()
        large = np.median([len(part) for part in parts]) >= max(_LEAST_STACK, len(times) / 2)
        if (few or large) and _fewer(parts, place_of) and all(_is_dense(part, place_of) for part in parts):
            return parts, True
    if (times > 1).mean() >= _PHASES:
        for mark in _SEQUENCES:
            whole, certain = _added_up(mark, divisions.get(mark, []), place_of)
            covered = [len({place_of[one.key] for one, _ in part}) for part in whole]
            complete = 1 < len(whole) <= times.max() and min(covered) >= len(times) / 2
            if complete and _fewer(whole, place_of):
                return whole, certain
    return None, True


def _are_volumes(parts: list[list[_Placed]], placed: list[_Placed]) -> bool:
    """Whether each part alone spans the whole extent at an even distance."""
    if len(parts) < 2:  # noqa: PLR2004
        return False
    extent_mm = placed[-1][1] - placed[0][1]
    for part in parts:
        spans = part[-1][1] - part[0][1] >= _SPAN * extent_mm
        if len(part) < _LEAST_STACK or not spans or not _is_even(part):
            return False
    return True


def _is_even(part: list[_Placed]) -> bool:
    """Whether nearly all distances are the usual one."""
    gaps = np.diff([depth for _, depth in part])
    usual_mm = float(np.median(gaps)) if len(gaps) else 0.0
    return usual_mm > _SAME_MM and bool((abs(gaps - usual_mm) <= _NEAR[0] * usual_mm).mean() >= _SPAN)


def _fewer(parts: list[list[_Placed]], place_of: dict[bytes, int]) -> bool:
    """Whether places repeat less often within the parts than in all."""
    repeated = sum(len(part) - len({place_of[one.key] for one, _ in part}) for part in parts)
    return repeated < sum(map(len, parts)) - len(set(place_of.values()))


def _is_dense(part: list[_Placed], place_of: dict[bytes, int]) -> bool:
    """Whether a part has nearly all places between its ends."""
    places = {place_of[one.key] for one, _ in part}
    return len(places) >= _DENSE * (max(places) - min(places) + 1)


def _added_up(
    mark: int, parts: list[list[_Placed]], place_of: dict[bytes, int]
) -> tuple[list[list[_Placed]], bool]:
    """Parts in the order of their mark, joined to passes; and whether they can be joined in one way only."""
    parts = sorted(parts, key=lambda part: number_of(part[0][0].acquisition[mark]))
    numbers, certain = passes([{place_of[one.key] for one, _ in part} for part in parts])
    whole: dict[int, list[_Placed]] = {}
    for part, number in zip(parts, numbers, strict=True):
        whole.setdefault(number, []).extend(part)
    return [sorted(part, key=lambda one: (one[1], turn(one[0]))) for part in whole.values()], certain


def _divided(placed: list[_Placed], mark: int) -> list[list[_Placed]]:
    values = {one.acquisition[mark] for one, _ in placed}
    name_of = _alike(values) if mark in _MEASURED else {value: value for value in values}
    parts: dict[str, list[_Placed]] = {}
    for one in placed:
        parts.setdefault(name_of[one[0].acquisition[mark]], []).append(one)
    return list(parts.values())


def _alike(values: Iterable[str]) -> dict[str, str]:
    """One of the values for each: numbers that differ by rounding only are the same."""
    name_of = {value: value for value in values}
    numbers = sorted((number, value) for value in name_of if math.isfinite(number := number_of(value)))
    for (before, one), (after, other) in pairwise(numbers):
        if after - before <= _ROUNDING * abs(after):
            name_of[other] = name_of[one]
    return name_of


def _places(placed: list[_Placed], share: float, most_mm: float) -> list[int]:
    """The number of each slice's place, by depth, from 0."""
    gaps = [after - before for (_, before), (_, after) in pairwise(placed)]
    real = sorted(gap for gap in gaps if gap > _SAME_MM)
    # Of the larger half: where places repeat with a small shift, the smaller half are those shifts.
    usual_mm = real[len(real) * 3 // 4] if real else 0.0
    least_mm = max(_SAME_MM, min(share * usual_mm, most_mm))
    return list(accumulate((gap > least_mm for gap in gaps), initial=0))


def _dealt(placed: list[_Placed]) -> list[list[_Placed]]:
    """Images of repeated places that no mark separates, by their numbers.

    Numbers mostly run through all places and then begin anew, or through the images of each place. Where they
    do neither, and where few places repeat, the first images of all places are the first stack, and so on.
    """
    turns = sorted(zip(placed, _places(placed, *_NEAR), strict=True), key=lambda one: turn(one[0][0]))
    places = [place for _, place in turns]
    times = np.bincount(places)
    numbers = _nth(places)
    if (times > 1).mean() >= _PHASES:
        by_pass, _ = passes([[place] for place in places])
        instances = [one.instance for (one, _), _ in turns]
        run_on = by_pass[-1] + 1 == times.max()
        numbers = by_pass if run_on else side_by_side(instances, places, int(times.max())) or numbers
    stacks: dict[int, list[_Placed]] = {}
    for (one, _), number in zip(turns, numbers, strict=True):
        stacks.setdefault(number, []).append(one)
    return [sorted(stack, key=lambda one: one[1]) for stack in stacks.values()]


def _nth(places: Sequence[int]) -> list[int]:
    """Which image of its place each is, from 0."""
    seen: dict[int, int] = {}
    numbers = []
    for place in places:
        numbers.append(seen.get(place, 0))
        seen[place] = numbers[-1] + 1
    return numbers
