"""The field and the way back: masks return to the original grid exactly."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.batches import Frame
from stages.grid import Display, Grid
from stages.preprocess.grid import (
    displayed,
    grid_of,
    inside,
    mask_to_original,
    stored,
    to_field,
    to_original,
    weights,
)

SIZE = 64
DATA = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "promise12"
DISPLAYS = [Display(*flags) for flags in itertools.product((False, True), repeat=3)]

displays = st.sampled_from(DISPLAYS)
seeds = st.integers(0, 2**32 - 1)


def frame(shape: tuple[int, int], spacing_mm: tuple[float, float] | None, display: Display) -> Frame:
    """A frame of which only the geometry matters."""
    return Frame(np.zeros(shape, np.int16), spacing_mm, display)


def blob(
    shape: tuple[int, int], spacing_mm: tuple[float, float], shift_mm: tuple[float, float]
) -> np.ndarray:
    """An ellipse of 40 by 30 mm near the image's centre, on the stored grid."""
    row_mm, column_mm = (
        (np.arange(length) - (length - 1) / 2) * mm - shift
        for length, mm, shift in zip(shape, spacing_mm, shift_mm, strict=True)
    )
    return (row_mm[:, None] / 20) ** 2 + (column_mm[None, :] / 15) ** 2 <= 1


@pytest.mark.parametrize("display", DISPLAYS)
def test_every_display_orientation_is_undone(display: Display) -> None:
    """The eight dihedral views are inverted exactly."""
    image_HW = np.arange(15).reshape(3, 5)
    assert np.array_equal(stored(displayed(image_HW, display), display), image_HW)


def test_display_transposes_before_it_flips() -> None:
    """The order is the contract's: transpose, then rows, then columns."""
    image_HW = np.array([[1, 2, 3], [4, 5, 6]])
    shown = displayed(image_HW, Display(transpose=True, flip_rows=True))
    assert shown.tolist() == [[3, 6], [2, 5], [1, 4]]


@given(
    shape=st.tuples(st.integers(8, SIZE), st.integers(8, SIZE)),
    display=displays,
    finer=st.sampled_from([1, 2, 3, 4]),
    seed=seeds,
)
def test_a_mask_survives_the_round_trip_exactly_where_the_field_is_finer(
    shape: tuple[int, int], display: Display, finer: int, seed: int
) -> None:
    """Original to field to original is the identity for any mask, shape and orientation at 1:k."""
    grid = grid_of(frame(shape, (float(finer), float(finer)), display), SIZE * finer, 1.0)
    mask_HW = np.random.default_rng(seed).random(shape) < 0.5
    field_HW = to_field(mask_HW, grid, SIZE * finer) > 0.5
    back_HW = to_original(field_HW, grid)
    assert back_HW.shape == shape
    assert np.array_equal(back_HW > 0.5, mask_HW)


@given(shape=st.tuples(st.integers(8, SIZE), st.integers(8, SIZE)), display=displays, seed=seeds)
def test_values_survive_exactly_at_equal_spacing(shape: tuple[int, int], display: Display, seed: int) -> None:
    """At unit scale nothing is interpolated: pixels are moved, never mixed."""
    image_HW = np.random.default_rng(seed).random(shape).astype(np.float32)
    grid = grid_of(frame(shape, (1.0, 1.0), display), SIZE, 1.0)
    assert np.array_equal(to_original(to_field(image_HW, grid, SIZE), grid), image_HW)


@given(
    shape=st.tuples(st.integers(8, 300), st.integers(8, 300)),
    spacing_mm=st.none() | st.tuples(st.floats(0.3, 3), st.floats(0.3, 3)),
    display=displays,
)
def test_every_mask_comes_back_in_the_stored_shape(
    shape: tuple[int, int], spacing_mm: tuple[float, float] | None, display: Display
) -> None:
    """Whatever the shape, spacing and orientation, the way back ends on the stored grid."""
    grid = grid_of(frame(shape, spacing_mm, display), SIZE, 1.0)
    back_HW = to_original(np.ones((SIZE, SIZE), np.float32), grid)
    assert back_HW.shape == grid.shape == shape
    assert back_HW.max() <= 1 + 1e-6


@given(
    spacing_mm=st.tuples(st.floats(0.3, 1.6), st.floats(0.3, 1.6)),
    shift_mm=st.tuples(st.floats(-15, 15), st.floats(-15, 15)),
    display=displays,
)
def test_a_smooth_mask_survives_any_scale(
    spacing_mm: tuple[float, float], shift_mm: tuple[float, float], display: Display
) -> None:
    """At general scales a gland-sized blob keeps Dice 0.97 and its centroid within half a pixel."""
    shape = (int(130 / spacing_mm[0]), int(110 / spacing_mm[1]))
    mask_HW = blob(shape, spacing_mm, shift_mm)
    grid = grid_of(frame(shape, spacing_mm, display), 128, 1.0)
    back_HW = to_original(to_field(mask_HW, grid, 128) > 0.5, grid) > 0.5
    dice = 2 * (mask_HW & back_HW).sum() / (mask_HW.sum() + back_HW.sum())
    assert dice >= 0.97
    centroids = [np.argwhere(one_HW).mean(axis=0) for one_HW in (mask_HW, back_HW)]
    assert np.abs(centroids[0] - centroids[1]).max() < 0.5


@given(
    shape=st.tuples(st.integers(150, 400), st.integers(150, 400)),
    spacing_mm=st.tuples(st.floats(0.45, 0.99), st.floats(0.45, 0.99)),
)
def test_a_linear_ramp_keeps_its_coordinates(shape: tuple[int, int], spacing_mm: tuple[float, float]) -> None:
    """Field pixel (r, c) reads displayed coordinate (r, c) * scale + offset: no half-pixel shift."""
    grid = grid_of(frame(shape, spacing_mm, Display()), SIZE, 1.0)
    rows_HW, columns_HW = np.mgrid[: shape[0], : shape[1]]
    at = np.arange(SIZE)
    expected_rows, expected_columns = (
        at * scale + offset for scale, offset in zip(grid.scale, grid.offset, strict=True)
    )
    assert np.allclose(to_field(rows_HW, grid, SIZE)[:, 0], expected_rows, atol=1e-3)
    assert np.allclose(to_field(columns_HW, grid, SIZE)[0], expected_columns, atol=1e-3)


def test_the_way_back_keeps_coordinates_too() -> None:
    """A ramp on the field reads, on the stored grid, the field coordinate of each stored pixel."""
    grid = grid_of(frame((40, 40), (0.7, 0.7), Display()), SIZE, 1.0)
    ramp_HW = np.broadcast_to(np.arange(SIZE, dtype=np.float32)[:, None], (SIZE, SIZE))
    expected = (np.arange(40) - grid.offset[0]) / grid.scale[0]
    assert np.allclose(to_original(ramp_HW, grid)[:, 20], expected, atol=1e-4)


geometries = st.builds(
    lambda shape, spacing_mm, display: grid_of(frame(shape, spacing_mm, display), SIZE, 1.0),
    st.tuples(st.integers(8, 90), st.integers(8, 90)),
    st.none() | st.tuples(st.floats(0.3, 3), st.floats(0.3, 3)),
    displays,
)


def by_dense_matrices(image_HW: np.ndarray, grid: Grid) -> np.ndarray:
    """What ``to_field`` promises, over the whole image and with all zeros multiplied."""
    shown_HW = displayed(image_HW, grid.display)
    rows_OI, columns_OI = (
        weights(SIZE, length, scale, offset)
        for length, scale, offset in zip(shown_HW.shape, grid.scale, grid.offset, strict=True)
    )
    return rows_OI @ shown_HW @ columns_OI.T


@given(grid=geometries, seed=seeds)
def test_the_field_is_the_product_of_dense_matrices(grid: Grid, seed: int) -> None:
    """What is left out of it, zeros and pixels out of view, changes nothing."""
    image_HW = np.random.default_rng(seed).random(grid.shape).astype(np.float32)
    assert np.allclose(to_field(image_HW, grid, SIZE), by_dense_matrices(image_HW, grid), atol=1e-5)


@given(
    grid=geometries,
    seed=seeds,
    share=st.sampled_from([0, 0.001, 0.02, 0.5, 1]),
    threshold=st.sampled_from([0.1, 0.47, 0.93]),
)
def test_a_mask_comes_back_as_if_all_of_it_were_interpolated(
    grid: Grid, seed: int, share: float, threshold: float
) -> None:
    """Wherever the field reaches the threshold: nowhere, in a few pixels, at its edges, everywhere."""
    random = np.random.default_rng(seed)
    high_HW = random.random((SIZE, SIZE)) < share
    field_HW = np.where(high_HW, random.uniform(threshold, 1, high_HW.shape), threshold * 0.99)
    field_HW = field_HW.astype(np.float32)
    mask_HW = mask_to_original(field_HW, grid, threshold)
    whole_HW = to_original(field_HW, grid)
    certain_HW = np.abs(whole_HW - threshold) > 1e-6  # what rounding cannot move across
    assert np.array_equal(mask_HW[certain_HW], (whole_HW >= threshold)[certain_HW])


def test_shrinking_smooths_what_the_field_cannot_show() -> None:
    """A one-pixel checkerboard becomes grey, not a pattern of its own."""
    checkers_HW = np.indices((256, 256)).sum(axis=0) % 2
    field_HW = to_field(checkers_HW, grid_of(frame((256, 256), (0.25, 0.25), Display()), 64, 1.0), 64)
    assert np.abs(field_HW[8:-8, 8:-8] - 0.5).max() < 0.05


@pytest.mark.parametrize("spacing_mm", [0.25, 0.2])
def test_shrinking_averages_all_that_a_field_pixel_covers(spacing_mm: float) -> None:
    """Noise falls as in a mean of them, to a quarter or a fifth, not as between two neighbours."""
    noise_HW = np.random.default_rng(3).normal(size=(320, 320))
    grid = grid_of(frame((320, 320), (spacing_mm, spacing_mm), Display()), 60, 1.0)
    assert to_field(noise_HW, grid, 60)[4:-4, 4:-4].std() == pytest.approx(spacing_mm, rel=0.12)


@pytest.mark.parametrize("scale", [0.3, 0.9, 1.0, 1.37, 2.0, 5.5])
def test_weights_are_a_partition_of_one(scale: float) -> None:
    """Away from the edges every output pixel is a weighted mean."""
    weight_OI = weights(16, 200, scale, 50.0)
    assert np.allclose(weight_OI.sum(axis=1), 1, atol=1e-6)
    assert weight_OI.min() >= 0


@pytest.mark.parametrize(
    "spacing_mm",
    [None, (np.nan, 1.0), (np.inf, 1.0), (0.0, 0.5), (-1.0, 1.0), (1000.0, 1000.0), (0.02, 0.02)],
)
def test_without_usable_spacing_the_whole_image_is_fitted(spacing_mm: tuple[float, float] | None) -> None:
    """Missing, non-finite, non-positive or absurd spacing: flagged, fitted by the longer side."""
    grid = grid_of(frame((104, 200), spacing_mm, Display()), 50, 1.0)
    assert not grid.spacing_known
    assert grid.scale == (4.0, 4.0)
    assert inside(grid, 50).all(axis=1).sum() == 26


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "known"),
    [
        ((2000, 900), (0.01, 0.01), True),
        ((2000, 900), (0.0099, 0.01), False),
        ((2000, 900), (0.01, 0.0099), False),
        ((64, 64), (10.0, 10.0), True),
        ((64, 64), (10.01, 10.0), False),
        ((64, 64), (10.0, 10.01), False),
        ((64, 16), (0.5, 0.5), True),
        ((64, 16), (0.5, 0.49), False),
        ((16, 64), (0.49, 0.5), False),
    ],
)
def test_spacing_is_known_up_to_the_bounds_of_what_is_plausible(
    shape: tuple[int, int], spacing_mm: tuple[float, float], known: bool
) -> None:
    """From 0.01 to 10 mm, of an image that covers at least eight pixels of the field."""
    assert grid_of(frame(shape, spacing_mm, Display()), 64, 1.0).spacing_known == known


def test_weights_that_frames_share_cannot_be_written() -> None:
    """One frame of a geometry would change all later ones."""
    assert not weights(8, 8, 1.0, 0.0).flags.writeable
    assert weights(8, 8, 1.0, 0.0) is weights(8, 8, 1.0, 0.0)
    grid = grid_of(frame((40, 40), None, Display()), 32, 1.0)
    assert not inside(grid, 32).flags.writeable


def test_the_field_is_centred_on_the_image() -> None:
    """The displayed image's centre and the field's centre are the same point."""
    grid = grid_of(frame((101, 60), (0.5, 0.8), Display(transpose=True)), 128, 1.0)
    assert grid.scale == (1 / 0.8, 2.0)
    centre = [63.5 * scale + offset for scale, offset in zip(grid.scale, grid.offset, strict=True)]
    assert np.allclose(centre, [29.5, 50.0])


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="the shared PROMISE12 folder is absent")
def test_every_labelled_gland_lies_inside_the_field() -> None:
    """On all 36 labelled cases the default field loses no gland pixel, and masks come back at Dice 0.95."""
    files = sorted(DATA.glob("*/*_segmentation.nii.gz"))
    assert len(files) == 36
    for file in files:
        labels = nib.load(file)
        mask_HWN = np.asarray(labels.dataobj) > 0
        row_mm, column_mm = (float(mm) for mm in labels.header.get_zooms()[:2])
        grid = grid_of(Frame(mask_HWN[:, :, 0], (row_mm, column_mm)), 128, 1.0)
        back_HWN = np.stack(
            [
                to_original(to_field(mask_HWN[:, :, k], grid, 128) > 0.5, grid)
                for k in range(mask_HWN.shape[2])
            ],
            axis=-1,
        )
        seen_HW = to_original(np.ones((128, 128), np.float32), grid) > 0.5
        assert not mask_HWN[~seen_HW].any(), file.name
        dice = 2 * (mask_HWN & (back_HWN > 0.5)).sum() / (mask_HWN.sum() + (back_HWN > 0.5).sum())
        assert dice >= 0.97, (file.name, dice)
