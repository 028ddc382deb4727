from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.spatial import cKDTree

from evaluation import dice as metrics

UNIT = (1.0, 1.0, 1.0)
EMPTY = np.zeros((3, 8, 8), np.uint8)


def block(lo: int, hi: int, slices: slice = slice(1, 2)) -> np.ndarray:
    """A square in some slices."""
    volume = EMPTY.copy()
    volume[slices, lo:hi, lo:hi] = 1
    return volume


def test_equal_masks_agree_perfectly() -> None:
    """A mask against itself has Dice 1 and distance 0."""
    mask = block(2, 6)
    assert metrics.dice(mask, mask) == 1
    assert metrics.dice_slices(mask, mask) == 1
    assert metrics.hd95_mm(mask, mask, UNIT) == 0
    assert metrics.asd_mm(mask, mask, UNIT) == 0


def test_half_overlap_by_hand() -> None:
    """A 4x4 square against a 2x2 square inside it: 2*4 / (16+4)."""
    assert metrics.dice(block(2, 6), block(2, 4)) == pytest.approx(0.4)


def test_both_empty_is_agreement() -> None:
    """Nothing found where nothing is, is right."""
    assert metrics.dice(EMPTY, EMPTY) == 1
    assert metrics.dice_slices(EMPTY, EMPTY) == 1
    assert metrics.hd95_mm(EMPTY, EMPTY, UNIT) == 0
    assert metrics.asd_mm(EMPTY, EMPTY, UNIT) == 0


@pytest.mark.parametrize("swap", [False, True])
def test_one_empty_has_no_distance(swap: bool) -> None:
    """Missing everything, or finding what is not there, is Dice 0 and no distance."""
    pair = (EMPTY, block(2, 4)) if swap else (block(2, 4), EMPTY)
    assert metrics.dice(*pair) == 0
    assert metrics.dice_slices(*pair) == 0
    assert metrics.hd95_mm(*pair, UNIT) is None
    assert metrics.asd_mm(*pair, UNIT) is None


def test_slices_without_reference_do_not_count_in_the_slice_mean() -> None:
    """A false slice lowers the volume Dice (2*4/(8+4)), not the mean over the reference's slices."""
    truth, mask = block(2, 4), block(2, 4, slice(0, 2))
    assert metrics.dice_slices(mask, truth) == 1
    assert metrics.dice(mask, truth) == pytest.approx(2 / 3)


def test_pooled_dice_weighs_by_size() -> None:
    """A right large case and a missed small one: 2*16 / (2*16 + 4)."""
    pairs = [(block(2, 6), block(2, 6)), (EMPTY, block(2, 4))]
    assert metrics.pooled_dice(pairs) == pytest.approx(32 / 36)


def test_parallel_planes_are_as_far_apart_as_the_spacing_says() -> None:
    """Two slabs two slices apart, 3 mm each: every distance is 6 mm."""
    mask, truth = EMPTY.copy(), EMPTY.copy()
    mask[0], truth[2] = 1, 1
    assert metrics.hd95_mm(mask, truth, (3.0, 1.0, 1.0)) == pytest.approx(6)
    assert metrics.asd_mm(mask, truth, (3.0, 1.0, 1.0)) == pytest.approx(6)


def test_in_plane_shift_uses_the_column_spacing() -> None:
    """A single voxel moved three columns of 0.5 mm is 1.5 mm away."""
    mask, truth = EMPTY.copy(), EMPTY.copy()
    mask[1, 4, 1], truth[1, 4, 4] = 1, 1
    assert metrics.asd_mm(mask, truth, (3.0, 2.0, 0.5)) == pytest.approx(1.5)


def test_volume_is_in_millilitres() -> None:
    """16 voxels of 3 x 0.5 x 0.5 mm."""
    assert metrics.volume_ml(block(2, 6), (3.0, 0.5, 0.5)) == pytest.approx(16 * 0.75 / 1000)


volumes = arrays.arrays(np.bool_, (3, 5, 6))


@given(volumes, volumes)
def test_dice_is_symmetric_and_bounded(mask: np.ndarray, truth: np.ndarray) -> None:
    """Dice does not know which of the two is the reference."""
    assert metrics.dice(mask, truth) == metrics.dice(truth, mask)
    assert 0 <= metrics.dice(mask, truth) <= 1


@given(volumes, volumes, st.tuples(*[st.floats(0.5, 4)] * 3))
def test_surface_distances_equal_a_nearest_neighbour_search(
    mask: np.ndarray, truth: np.ndarray, spacing_mm: tuple[float, float, float]
) -> None:
    """The distance transform finds the same distances as a search over all pairs."""
    if not (mask.any() and truth.any()):
        return
    points = [np.argwhere(metrics._surface(volume)) * spacing_mm for volume in (mask, truth)]
    expected = np.concatenate(
        [cKDTree(points[1]).query(points[0])[0], cKDTree(points[0]).query(points[1])[0]]
    )
    found = metrics.surface_distances_mm(mask, truth, spacing_mm)
    assert np.sort(found) == pytest.approx(np.sort(expected))
