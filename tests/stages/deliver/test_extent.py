"""Volumes from areas and positions, against bodies whose volume is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.deliver.extent import NEAR, distance_mm, extents_mm, gaps_mm, repeated, volume_ml
from stages.deliver.planes import Plane, SegmentedFrame, Stack
from stages.grid import Mask
from stages.places import FileKind, Place, StackId

GAPS_MM = st.lists(st.floats(0.5, 8.0), min_size=2, max_size=30)


def stack(pixels: list[int], depths_mm: list[float | None], area_mm2: float = 1.0) -> Stack:
    """Slices of so many pixels at these depths."""
    planes = []
    for number, (count, depth) in enumerate(zip(pixels, depths_mm, strict=True)):
        mask_HW = np.zeros((64, 64))
        mask_HW.flat[:count] = 1
        place = Place("file", number, FileKind.DICOM)
        frame = SegmentedFrame(bytes([number]), place, Mask.pack(mask_HW), True, math.nan)
        planes.append(Plane(frame, (area_mm2, 1.0), area_mm2, depth))
    return Stack(StackId(), tuple(planes), stated_gap_mm=4.0)


@given(gaps=GAPS_MM)
def test_every_millimetre_between_the_first_and_the_last_slice_counts_once(gaps: list[float]) -> None:
    """The extents add up to the length of the stack and half a distance at each end, no longer than usual."""
    depths = np.concatenate(([0.0], np.cumsum(gaps)))
    first, last = (float(np.median(some)) for some in (gaps[:NEAR], gaps[-NEAR:]))
    ends = (min(gaps[0], first) + min(gaps[-1], last)) / 2
    assert extents_mm(depths.tolist()).sum() == pytest.approx(sum(gaps) + ends)


@given(gaps=GAPS_MM, data=st.data())
def test_the_order_of_the_slices_changes_no_volume(gaps: list[float], data: st.DataObject) -> None:
    """An extent belongs to its slice, wherever that stands."""
    depths = np.concatenate(([0.0], np.cumsum(gaps))).tolist()
    pixels = data.draw(st.lists(st.integers(0, 4096), min_size=len(depths), max_size=len(depths)))
    order = data.draw(st.permutations(range(len(depths))))
    shuffled = stack([pixels[i] for i in order], [depths[i] for i in order])
    assert volume_ml(shuffled) == pytest.approx(volume_ml(stack(pixels, depths)), abs=1e-3)


@given(gaps=GAPS_MM, start=st.floats(-500, 500), first=st.floats(20, 4000), slope=st.floats(-0.9, 0.9))
def test_a_body_whose_area_is_linear_has_its_exact_volume(
    gaps: list[float], start: float, first: float, slope: float
) -> None:
    """Between two slices the area is taken as linear: a wedge comes out exactly, however it is cut."""
    depths = np.concatenate(([0.0], np.cumsum(gaps)))
    areas = first * (1 + slope * depths / depths[-1])
    weights = extents_mm((depths + start).tolist())
    near, far = (float(np.median(some)) for some in (gaps[:NEAR], gaps[-NEAR:]))
    inside = (areas[0] + areas[-1]) / 2 * depths[-1]
    ends = (areas[0] * min(gaps[0], near) + areas[-1] * min(gaps[-1], far)) / 2
    assert float(areas @ weights) == pytest.approx(inside + ends, rel=1e-6)


@given(
    radius=st.floats(12, 30),
    spacing=st.floats(1.0, 3.0),
    offset=st.floats(0, 1),
    missing=st.sets(st.integers(8, 50), max_size=3),
    change=st.booleans(),
)
def test_a_ball_has_its_analytic_volume_whatever_the_spacing(
    radius: float, spacing: float, offset: float, missing: set[int], *, change: bool
) -> None:
    """Cut anywhere, some slices missing or the spacing changed half-way: within the error of the rule."""
    depths = np.arange(-45, 45, spacing) + offset * spacing
    if change:
        depths = np.concatenate((depths[depths < 0], depths[depths >= 0][::2]))
    depths = np.delete(depths, [index for index in missing if index < len(depths) - 2])
    areas = np.pi * np.clip(radius**2 - depths**2, 0, None)
    widest = float(gaps_mm(depths.tolist()).max())
    # The trapezoidal rule on pi (r^2 - z^2) errs by pi/6 of the cube of every distance; and beyond the ends.
    error = np.pi / 6 * float((gaps_mm(depths.tolist()) ** 3)[abs(depths[:-1]) < radius + widest].sum())
    volume = float(areas @ extents_mm(depths.tolist()))
    assert volume == pytest.approx(4 / 3 * np.pi * radius**3, abs=error + 2 * np.pi * radius * widest**2)


def test_missing_slices_are_bridged_by_their_neighbours() -> None:
    """Three of ten slices of a block are gone: its volume stays."""
    depths = [0.0, 3, 6, 15, 18, 21, 27]
    assert volume_ml(stack([100] * 7, [*depths])) == pytest.approx(100 * 30 / 1000)


def test_a_wide_gap_at_an_end_adds_no_more_than_half_the_usual_distance() -> None:
    """What nobody has seen is not made up."""
    assert extents_mm([0.0, 12, 15, 18, 21]).tolist() == [7.5, 7.5, 3, 3, 3]


def test_what_is_usual_is_judged_near_by() -> None:
    """Twenty slices at 1.5 mm and then ten at 3 mm: the last one stands for 3 mm."""
    depths = [*(1.5 * i for i in range(20)), *(28.5 + 3 * i for i in range(1, 11))]
    extents = extents_mm(depths)
    assert (extents[0], extents[19], extents[-1]) == (1.5, 2.25, 3)


def test_one_slice_takes_what_its_header_states() -> None:
    """And nothing where that states nothing."""
    alone = stack([500], [None])
    assert volume_ml(alone) == pytest.approx(2.0)
    assert distance_mm(alone) == 4
    assert volume_ml(Stack(StackId(), alone.planes)) is None


def test_no_volume_without_positions_or_with_equal_ones() -> None:
    """Null, not a guess."""
    for depths in ([0.0, None, 6.0], [0.0, 3.0, 3.0], [5.0, 5.0, 5.0]):
        assert volume_ml(stack([10, 10, 10], depths)) is None
        assert distance_mm(stack([10, 10, 10], depths)) is None


def test_places_are_one_relative_to_the_usual_distance() -> None:
    """A hundredth of it is noise; a tenth is another slice."""
    assert repeated(gaps_mm([0, 3, 3.02, 6]))
    assert not repeated(gaps_mm([0, 3, 3.3, 6]))
