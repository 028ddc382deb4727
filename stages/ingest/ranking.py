"""The order in which slices and stacks were acquired: by marks, then places, at last numbers. Pure."""

from __future__ import annotations

import math

from stages.doubt import Doubt
from stages.ingest.slices import Slice, SliceStack


def turn(one: Slice) -> tuple[float, int, str, bytes]:
    """The order in which slices were numbered; of equal numbers, by the name of the file."""
    number = math.inf if one.instance is None else one.instance
    return (number, one.place.frame, one.place.path, one.key)


def rank(stack: SliceStack) -> tuple[object, ...]:
    """The order of acquisition, independent of numbers and names as far as marks or places separate stacks.

    Of those that no mark separates the larger comes first: a localiser stands behind its volume.
    Where numbers divided a stack from others of its places, numbers say which was first.
    """
    size_first = (-len(stack.slices), *min(map(_whereabouts, stack.slices)))
    places = () if stack.doubt is Doubt.ORDER else size_first
    return (min(map(order, stack.slices)), places, min(map(turn, stack.slices)))


def _whereabouts(one: Slice) -> tuple[object, ...]:
    """What else divides stacks, and where the slice lies, its height first."""
    place = (one.orientation or (), (one.position or ())[::-1], one.shape, one.spacing_mm or ())
    return (one.modality, *place, one.frame_of_reference)


def order(one: Slice) -> tuple[tuple[float, str], ...]:
    """The marks in the order in which images are acquired; numbers by value."""
    a = one.acquisition
    marks = (a.number, a.temporal_position, a.phase, a.time, a.echo, a.echo_time, a.inversion_time)
    more = (a.b_value, a.gradient, a.dimensions, a.stack, a.image_type, a.content_time)
    return tuple((number_of(mark), mark) for mark in (*marks, *more))


def number_of(mark: str) -> float:
    """The value of a mark; infinite where it is no number."""
    try:
        value = float(mark)
    except ValueError:
        return math.inf
    return value if math.isfinite(value) else math.inf
