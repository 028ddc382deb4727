"""Intensity steps: known answers and the inputs that break naive versions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stages.preprocess.intensity import clip_percentiles, percentile, unit_range, usable, zscore

ALL = np.ones((10, 10), bool)


@pytest.mark.parametrize(
    "values",
    [
        np.array([[-32768, 32767]], np.int16),
        np.array([[0, 65535]], np.uint16),
        np.array([[1_000_000_000, 1_000_000_001]], np.int32),
        np.array([[-(2**63), 2**63 - 1]], np.int64),
        np.array([[0.0, 5e-324]], np.float64),
        np.array([[-3e29, 3e29]], np.float32),
        np.array([[False, True]]),
    ],
)
def test_any_range_of_any_type_becomes_zero_to_one(values: np.ndarray) -> None:
    """The least value is 0 and the greatest 1, without overflow or loss in any pixel type."""
    assert unit_range(values).tolist() == [[0.0, 1.0]]


def test_what_is_not_finite_becomes_the_minimum() -> None:
    """NaN, infinities and absurd floats take the least finite value."""
    image_HW = np.array([[np.nan, np.inf, -np.inf, 1e38, 2.0, 4.0]])
    assert unit_range(image_HW).tolist() == [[0, 0, 0, 0, 0, 1]]


@pytest.mark.parametrize(
    "image_HW",
    [np.full((9, 9), 7, np.uint8), np.full((9, 9), 0.1), np.full((9, 9), np.nan), np.array([[np.nan, 3.0]])],
)
def test_a_constant_or_non_finite_image_has_no_range(image_HW: np.ndarray) -> None:
    """Nothing to scale by is an answer, not a crash."""
    assert unit_range(image_HW) is None


@pytest.mark.parametrize("dtype", ["u1", "i2", "f2", "f4", "f8"])
def test_pixels_without_a_value_are_told_where_there_are_any(dtype: str) -> None:
    """NaN and what stands for it; an image without any costs nothing more."""
    image_HW = np.array([[1, 2]], dtype)
    assert usable(image_HW) is None
    if dtype[0] == "f":
        image_HW[0, 0] = np.nan
        assert usable(image_HW).tolist() == [[False, True]]


def test_flare_is_clipped_at_the_percentile() -> None:
    """One pixel at thirty times the rest does not compress the rest."""
    image_HW = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    image_HW[0, 0] = 30
    clipped_HW = clip_percentiles(image_HW, ALL, 1, 98)
    assert clipped_HW.max() == 1
    assert clipped_HW.min() == 0
    assert np.median(clipped_HW) == pytest.approx(0.5, abs=0.03)


def test_percentiles_are_of_the_patient_only() -> None:
    """Pixels outside the mask do not move the limits."""
    image_HW = np.tile(np.linspace(0.2, 0.8, 10, dtype=np.float32), (10, 1))
    image_HW[:5] = 0
    patient_HW = image_HW > 0
    stretched_HW = clip_percentiles(image_HW, patient_HW, 0, 100)
    assert stretched_HW[9] == pytest.approx(np.linspace(0, 1, 10), abs=1e-6)


def test_coinciding_percentiles_leave_values_alone() -> None:
    """An almost constant image is returned as it was."""
    image_HW = np.zeros((10, 10), np.float32)
    image_HW[0, 0] = 1
    assert np.array_equal(clip_percentiles(image_HW, ALL, 1, 98), image_HW)


@given(
    values_P=hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(0, 1, width=32)),
    percent=st.floats(0, 100),
)
def test_a_percentile_is_that_of_numpy(values_P: np.ndarray, percent: float) -> None:
    """By one partition, for any number of values and any percentile; the values stay as they are."""
    before_P = values_P.copy()
    assert percentile(values_P, percent) == pytest.approx(np.percentile(values_P, percent), abs=1e-6)
    assert np.array_equal(values_P, before_P)


@pytest.mark.parametrize("unit", [1, 255])
def test_zscore_has_mean_zero_and_deviation_one_over_the_patient(unit: int) -> None:
    """Statistics come from the mask, whether it lies on levels or on values in 0..1."""
    image_HW = np.random.default_rng(0).random((10, 10), np.float32) * unit
    field_HW = image_HW.astype(np.uint8) if unit > 1 else image_HW
    patient_HW = np.arange(100).reshape(10, 10) >= 30
    slope, intercept = zscore(field_HW, patient_HW, unit)
    x_HW = field_HW * slope + intercept
    assert x_HW[patient_HW].mean() == pytest.approx(0, abs=1e-5)
    assert x_HW[patient_HW].std() == pytest.approx(1, abs=1e-5)


def test_zscore_of_equal_values_is_zero() -> None:
    """No spread, no division."""
    assert zscore(np.full((10, 10), 0.3, np.float32), ALL, 1) == (0, 0)


@pytest.mark.parametrize(("deviation", "spread"), [(0.9e-6, False), (1.1e-6, True)])
def test_a_deviation_of_rounding_is_none(deviation: float, spread: bool) -> None:
    """From a millionth of the range on it is the patient's."""
    image_HW = np.zeros((10, 10), np.float32)
    image_HW[::2] = 2 * deviation
    assert (zscore(image_HW, ALL, 1) != (0, 0)) == spread
    assert (zscore(255 * image_HW, ALL, 255) != (0, 0)) == spread


@pytest.mark.parametrize(
    ("value", "finite"), [(0.99e30, True), (1e30, False), (-1e30, False), (1.5e30, False)]
)
def test_a_value_beyond_any_unit_is_not_finite(value: float, finite: bool) -> None:
    """It would press all others into one."""
    unit_HW = unit_range(np.array([[0.0, 1.0, value]]))
    assert unit_HW is not None
    assert (unit_HW[0, 1] < 0.5) == finite
