"""Stacks that lie evenly between one another, as the halves of a volume do."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from stages.doubt import Doubt
from stages.ingest.slices import Slice
from stages.ingest.stacks import stacked
from tests.stages.ingest.slicing import SAGITTAL, slice_at

TILT = (1.0, 0.0, 0.0, 0.0, math.cos(math.radians(1)), math.sin(math.radians(1)))
TURNED = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def volume(step_mm: float = 3.0, count: int = 12, start_mm: float = 0.0) -> list[Slice]:
    return [slice_at(f"{start_mm}-{n}", start_mm + step_mm * n, n) for n in range(count)]


def marked(one: Slice, **marks: str) -> Slice:
    return replace(one, acquisition=one.acquisition._replace(**marks))


def doubts(slices: list[Slice]) -> list[Doubt]:
    return [stack.doubt for stack in stacked(slices)]


@pytest.mark.parametrize(
    "odd",
    [
        lambda one: marked(one, image_type="DERIVED"),
        lambda one: marked(one, temporal_position="2"),
        lambda one: marked(one, inversion_time="170"),
        lambda one: replace(one, orientation=TILT),
        lambda one: replace(one, orientation=TURNED, position=(15.0, 15.0, 3.0 * (one.instance or 0))),
        lambda one: replace(one, spacing_mm=(1.05, 1.05)),
        lambda one: replace(one, frame_of_reference="2"),
        lambda one: replace(one, modality="OT"),
    ],
    ids=["type", "temporal", "inversion", "tilt", "turned", "spacing", "frame", "modality"],
)
def test_a_volume_torn_into_halves_is_doubted(odd: Callable[[Slice], Slice]) -> None:
    """Whatever differs between its odd and its even slices."""
    slices = [
        replace(
            marked(one, inversion_time="150", temporal_position="1"), modality="MR", frame_of_reference="1"
        )
        for one in volume()
    ]
    torn = [odd(one) if row % 2 else one for row, one in enumerate(slices)]
    assert doubts(torn) == [Doubt.INTERLOCKED] * 2
    assert doubts(slices) == [Doubt.NONE]


def test_a_volume_torn_into_thirds_is_doubted_beside_a_localiser() -> None:
    """All stacks of an orientation together; other orientations change nothing."""
    slices = [marked(one, temporal_position=f"{row % 3}") for row, one in enumerate(volume())]
    across = [
        replace(one, orientation=SAGITTAL, position=(n * 9.0, 0, 0))
        for n, one in enumerate(volume(9.0, 3, 1))
    ]
    assert sorted(doubts([*slices, *across])) == [Doubt.NONE, *[Doubt.INTERLOCKED] * 3]


@pytest.mark.parametrize("shift_mm", [0.0, 0.4, 1.0, 40.0])
def test_stacks_of_the_same_or_of_other_places_are_not(shift_mm: float) -> None:
    """Phases, fields of view beside one another, slabs."""
    first = [marked(one, temporal_position="1") for one in volume()]
    second = [marked(one, temporal_position="2") for one in volume(start_mm=shift_mm)]
    assert set(doubts([*first, *second])) == {Doubt.NONE}


def test_halves_that_cover_another_extent_are_not() -> None:
    """A few slices between those of a long stack."""
    few = [replace(one, spacing_mm=(0.5, 0.5)) for one in volume(3.0, 4, 1.5)]
    assert doubts([*volume(), *few]) == [Doubt.NONE] * 2
