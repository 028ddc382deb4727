from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy import ndimage

from stages.components import LEAST, large_components

volumes = arrays(np.bool_, array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.booleans())


def kept(volume: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The whole volume at once."""
    return np.stack(list(large_components(len(volume), volume.__getitem__)))


@given(volumes)
def test_slice_by_slice_finds_what_labelling_the_volume_finds(volume: NDArray[np.bool_]) -> None:
    """The peer holds the volume in memory and labels it in one go."""
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
    large, small = large_components(2, planes.__getitem__)
    assert large.all()
    assert not small.any()


def test_nothing_in_nothing_out() -> None:
    """No slice, and slices without an object."""
    assert list(large_components(0, [].__getitem__)) == []
    assert not kept(np.zeros((2, 3, 3), np.bool_)).any()
