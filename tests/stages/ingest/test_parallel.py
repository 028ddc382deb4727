"""Which slices are parallel to one another, and which are planes of a fan."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.ingest.parallel import clusters, parallel
from stages.ingest.slices import Slice
from stages.places import FileKind, Place


def plane(degrees: float, depth: float = 0.0, radius: float = 60.0) -> Slice:
    """One of a fan about the long axis, its first pixel at a radius; or moved along its normal."""
    angle = math.radians(degrees)
    row = np.array([math.cos(angle), math.sin(angle), 0.0])
    normal = np.cross(row, [0.0, 0.0, -1.0])
    corner = -radius * row + depth * normal
    cosines = (*map(float, row), 0.0, 0.0, -1.0)
    place = Place(f"{degrees:g} {depth:g}", 0, FileKind.DICOM)
    return Slice(place.path.encode(), place, 1, tuple(map(float, corner)), cosines, None, (8, 8), (1.0, 1.0))


@pytest.mark.parametrize("step", [0.3, 0.5, 1.0, 2.0, 5.0])
def test_the_planes_of_a_radial_series_stand_alone(step: float) -> None:
    """However small the step from one to the next is; each is known for a plane of a fan."""
    planes = [plane(step * n) for n in range(36)]
    assert [(len(group), turned) for group, turned in parallel(planes)] == [(1, True)] * 36


def test_a_fan_in_steps_of_a_twentieth_of_a_degree_has_no_volume() -> None:
    """Two such planes may count as parallel, more never do."""
    made = parallel([plane(0.06 * n) for n in range(36)])
    assert all(len(group) <= 2 and turned for group, turned in made)


def test_repeated_planes_of_a_fan_stay_together() -> None:
    """Two phases of a radial series: an orientation that comes again is one group."""
    planes = [plane(2.0 * n + 1e-6 * phase) for phase in (0, 1) for n in range(20)]
    assert [(len(group), turned) for group, turned in parallel(planes)] == [(2, True)] * 20


def test_blocks_of_slices_at_small_angles_are_no_fan() -> None:
    """As for the discs of a spine: each block is a stack; and two single planes are no fan."""
    blocks = [plane(5.0 * block, 4.0 * n) for block in range(5) for n in range(4)]
    assert [(len(group), turned) for group, turned in parallel(blocks)] == [(4, False)] * 5
    assert [turned for _, turned in parallel([plane(0.0), plane(5.0)])] == [False, False]


def test_a_fan_beside_a_volume_does_not_touch_it() -> None:
    """The volume is parallel to one of its planes."""
    made = parallel([*(plane(0.0, 3.0 * n) for n in range(9)), *(plane(3.0 * n) for n in range(1, 6))])
    assert sorted((len(group), turned) for group, turned in made) == [(1, True)] * 5 + [(9, False)]


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=40), st.randoms())
def test_no_group_is_wider_than_the_tolerance(values: list[tuple[float, float]], random: object) -> None:
    """Whatever the order of the rows, the groups are the same."""
    values_N2 = np.array(values)
    groups = clusters(values_N2)
    assert sorted(row for group in groups for row in group) == list(range(len(values)))
    for group in groups:
        assert np.ptp(values_N2[group], axis=0).max() <= 1 + 0.01
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]  # hypothesis has no type for it
    again = [sorted(order[row] for row in group) for group in clusters(values_N2[order])]
    assert sorted(again) == sorted(map(sorted, groups))


def test_memory_does_not_grow_with_the_square_of_orientations() -> None:
    """Twenty thousand of them, all different: a table of each with each would take 400 MB a byte."""
    cosines_N6 = np.random.default_rng(0).uniform(-100, 100, (20_000, 6))
    tracemalloc.start()
    try:
        groups = clusters(cosines_N6)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(groups) == 20_000
    assert most < 60 << 20


@pytest.mark.parametrize(("beside", "leaning", "groups"), [(60.0, 0.0, 2), (0.0, 3.0, 1), (2.0, 0.0, 1)])
def test_slices_side_by_side_are_not_behind_one_another(beside: float, leaning: float, groups: int) -> None:
    """Images of 8 mm that do not overlap are two columns, however their depths mingle; a stack may lean."""
    slices = [
        Slice(
            bytes([n]),
            Place(f"{n}", 0, FileKind.DICOM),
            1,
            (beside * (n % 2) + leaning * n, 0.0, 3.0 * n),
            (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
            n,
            (8, 8),
            (1.0, 1.0),
        )
        for n in range(20)
    ]
    assert len(parallel(slices)) == groups
