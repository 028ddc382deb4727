from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy import ndimage

from stages.components import (
    ALIKE,
    BRIDGED,
    LEAST,
    SMALL,
    Corner,
    mended,
    small_components,
    without_islands,
)

MARGIN = 3  # pixels
slices = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.booleans())
volumes = arrays(np.bool_, array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.booleans())


def kept(volume: NDArray[np.bool_], corners: Sequence[Corner] = ()) -> NDArray[np.bool_]:
    """The whole volume at once."""
    small = small_components(len(volume), volume.__getitem__, corners)
    return np.stack([one if gone is None else one & ~gone for one, gone in zip(volume, small, strict=True)])


@given(volumes)
def test_slice_by_slice_finds_what_labelling_the_volume_finds(volume: NDArray[np.bool_]) -> None:
    """The peer holds the volume in memory and labels it in one go; no slice is empty."""
    volume = np.pad(volume, ((0, 0), (0, 2), (0, 0)))
    volume[:, -1, 0] = True  # a column of one voxel a slice, apart from the others
    labels, _ = ndimage.label(volume)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    np.testing.assert_array_equal(kept(volume), (sizes >= LEAST * sizes.max())[labels] & volume)


def test_objects_meet_again_in_a_later_slice() -> None:
    """Two legs of one body are one object, whichever way they are walked."""
    body = np.zeros((3, 3, 5), np.bool_)
    body[:2, 1, [0, 4]] = True
    body[2, 1] = True
    stray = body.copy()
    stray[0, 1, 2] = True
    np.testing.assert_array_equal(kept(stray), body)
    np.testing.assert_array_equal(kept(stray[::-1]), body[::-1])


def test_a_second_phase_stays() -> None:
    """The same structure twice in one series, a little smaller the second time, beside something stray."""
    volume = np.zeros((7, 4, 4), np.bool_)
    volume[0:3, :3, :3] = True  # 27
    volume[4:7, :3, :3] = True
    volume[4, 0, 0] = False  # 26
    phases = volume.copy()
    volume[3, 3, 3] = True
    np.testing.assert_array_equal(kept(volume), phases)


def test_slices_of_different_shapes_do_not_touch() -> None:
    """The same pixel of another grid is another place."""
    planes = [np.ones((2, 2)), np.ones((1, 1))]
    large, small = small_components(2, planes.__getitem__)
    assert large is None
    assert small.all()


def moved(volume: NDArray[np.bool_], corners: Sequence[Corner]) -> NDArray[np.bool_]:
    """What fields of view of the same body show that begin at these corners; they lie within the margin."""
    whole = np.pad(volume, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
    steps = ((-row, -column) for row, column in corners)
    return np.stack([np.roll(one, step, (0, 1)) for one, step in zip(whole, steps, strict=True)])


@given(volumes, st.data())
def test_a_moved_field_of_view_changes_nothing(volume: NDArray[np.bool_], data: st.DataObject) -> None:
    """The same body, seen by slices that begin elsewhere, loses the same voxels."""
    step = st.integers(-MARGIN, MARGIN)
    corners = data.draw(st.lists(st.tuples(step, step), min_size=len(volume), max_size=len(volume)))
    np.testing.assert_array_equal(kept(moved(volume, corners), corners), moved(kept(volume), corners))


def test_without_its_corners_a_moved_field_of_view_tears_an_object() -> None:
    """So the corners matter: by pixel index the smaller half would go."""
    body, corners = np.ones((5, 3, 3), np.bool_), [(0, 0)] * 3 + [(MARGIN, 0)] * 2
    torn = moved(body, corners)
    assert kept(torn).sum() == 27
    assert kept(torn, corners).sum() == 45


@pytest.mark.parametrize(("empty", "bridged"), [(BRIDGED, True), (BRIDGED + 1, False)])
def test_a_structure_goes_on_behind_slices_without_mask(empty: int, *, bridged: bool) -> None:
    """The network misses a slice or two of a gland; behind more of them is something else."""
    volume = np.zeros((5 + empty, 6, 6), np.bool_)
    volume[:3, 1:5, 1:5] = True
    volume[3 + empty :, 1:5, 1:5] = True
    assert kept(volume)[-1].any() == bridged


@pytest.mark.parametrize(("side", "bridged"), [(8, True), (9, False)])
def test_behind_a_slice_without_mask_goes_on_what_is_alike(side: int, *, bridged: bool) -> None:
    """A square of 16 pixels in one of 64 is a quarter of their union, in one of 81 it is less."""
    volume = np.zeros((4, 10, 10), np.bool_)
    volume[:2, :side, :side] = True
    volume[3, 1:5, 1:5] = True
    beside = volume.copy()
    beside[:, 9, 9] = [False, True, False, False]  # the same where a slice has several objects
    assert (kept(volume)[3].any(), kept(beside)[3].any()) == (bridged, bridged)
    assert ALIKE == 0.25


def test_mended_drops_stray_objects_first_and_counts_them() -> None:
    """Then a slice's islands and holes: what is small beside a stray object is not small without it."""
    volume = np.zeros((2, 40, 40), np.bool_)
    volume[:, 1:5, 1:5] = True
    volume[1, 10:14, 10:39] = True
    volume[0, 10:39, 10:39] = True
    first, second = mended(2, volume.__getitem__, largest=False)
    assert (first[0].sum(), first[1], second[0].sum(), second[1]) == (29 * 29, 0, 4 * 29 + 16, 0)
    volume[0, 1:5, 1:39] = True
    volume[1, 1, 1] = False
    (first, gone), (second, gone_too) = mended(2, volume.__getitem__, largest=True)
    assert (first.sum(), gone, second.sum(), gone_too) == (29 * 29, 4 * 38, 4 * 29, 15)


def test_nothing_in_nothing_out() -> None:
    """No slice, and slices without an object."""
    assert list(small_components(0, [].__getitem__)) == []
    assert not kept(np.zeros((2, 3, 3), np.bool_)).any()


@given(slices)
def test_islands_and_holes_are_those_that_labelling_finds(mask_HW: NDArray[np.bool_]) -> None:
    """The peer labels the slice, drops what is small, and then fills what is small and enclosed."""
    labels_HW, _ = ndimage.label(mask_HW)
    sizes = np.bincount(labels_HW.ravel(), minlength=2)
    sizes[0] = 0
    least = SMALL * sizes.max()
    wanted_HW = (sizes >= least)[labels_HW] & mask_HW
    around_HW, _ = ndimage.label(np.pad(~wanted_HW, 1, constant_values=True), np.ones((3, 3)))
    for hole in set(np.unique(around_HW)) - {0, around_HW[0, 0]}:
        inside_HW = (around_HW == hole)[1:-1, 1:-1]
        if inside_HW.sum() < least:
            wanted_HW |= inside_HW
    np.testing.assert_array_equal(without_islands(mask_HW), wanted_HW)


def test_small_islands_go_and_small_holes_are_filled() -> None:
    """Small is relative to the largest area of the slice; the given mask is not changed."""
    mask_HW = np.zeros((40, 40), np.uint8)
    mask_HW[5:25, 5:25] = 7  # 400: less than 20 is small
    whole_HW = mask_HW > 0
    whole_HW[10:15, 10:15] = mask_HW[10:15, 10:15] = 0  # a hole of 25
    mask_HW[20, 20:22] = 0
    whole_HW[30:35, 30:35] = mask_HW[30:35, 30:35] = 1  # an island of 25
    mask_HW[38, :18] = 1
    given_HW = mask_HW.copy()
    np.testing.assert_array_equal(without_islands(mask_HW), whole_HW)
    np.testing.assert_array_equal(mask_HW, given_HW)


def test_an_empty_slice_stays_empty() -> None:
    """Nothing is made of nothing."""
    assert not without_islands(np.zeros((5, 6))).any()
