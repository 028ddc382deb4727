from __future__ import annotations

import numpy as np
import pytest

from stages.base import Reason
from stages.ingest.faults import BadData
from stages.ingest.rescale import luminance, reflected, rescaled, smallest


def test_hounsfield_units_stay_exact_integers() -> None:
    """Slope 1 with a whole intercept: no float is made of a CT image, and air is -1024."""
    hounsfield = rescaled(np.array([[0, 1024, 4095]], np.uint16), 1.0, -1024.0)
    assert hounsfield.dtype == np.int16
    np.testing.assert_array_equal(hounsfield, [[-1024, 0, 3071]])


def test_the_whole_range_survives_the_intercept() -> None:
    """What does not fit 16 bits gets 32."""
    shifted = rescaled(np.array([[0, 65535]], np.uint16), 1.0, -1024.0)
    np.testing.assert_array_equal(shifted, [[-1024, 64511]])


@pytest.mark.parametrize("intercept", [2.0**31, -(2.0**31), 2.0**40])
def test_an_intercept_beyond_32_bits_does_not_wrap(intercept: float) -> None:
    """Nonsense, and still the header's own."""
    np.testing.assert_allclose(rescaled(np.array([[0, 9]], np.uint16), 1.0, intercept), intercept, rtol=1e-6)


def test_a_fractional_slope_gives_real_numbers() -> None:
    """As the modality means them."""
    np.testing.assert_allclose(rescaled(np.array([[2, 4]], np.int16), 0.25, 10.0), [[10.5, 11]])


def test_wide_integers_keep_their_precision() -> None:
    """32-bit values do not fit the mantissa of a 32-bit float."""
    exact = rescaled(np.array([[2**24 + 1]], np.uint32), 1.0, 1.0)
    assert int(exact[0, 0]) == 2**24 + 2


@pytest.mark.parametrize("line", [(0.0, 0.0), (np.nan, 0.0), (1.0, np.nan), (np.inf, 0.0)])
def test_a_line_that_is_none_is_corrupt(line: tuple[float, float]) -> None:
    """A zero slope would make every image constant."""
    with pytest.raises(BadData) as caught:
        rescaled(np.ones((2, 2), np.uint8), *line)
    assert caught.value.refusal.reason is Reason.CORRUPT


def test_reflection_swaps_the_ends_and_undoes_itself() -> None:
    """The smallest storable value becomes the largest."""
    image, ends = np.array([[0, 1, 4095]], np.uint16), np.array([0, 4095], np.uint16)
    once = reflected(image, ends)
    np.testing.assert_array_equal(once, [[4095, 4094, 0]])
    np.testing.assert_array_equal(reflected(once, ends), image)


def test_reflection_of_values_beyond_the_ends_does_not_wrap() -> None:
    """Bits Stored may lie; 5000 of 4095 becomes negative, not 64,631."""
    beyond = reflected(np.array([[5000]], np.uint16), np.array([0, 4095], np.uint16))
    np.testing.assert_array_equal(beyond, [[-905]])


def test_luminance_follows_bt_601() -> None:
    """Known answer: pure red, green, blue and white at eight bits."""
    pure = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    np.testing.assert_array_equal(luminance(pure), [[76, 150, 29, 255]])
    assert luminance(pure).dtype == np.uint8


def test_alpha_is_ignored() -> None:
    """A transparent pixel is still measured."""
    assert luminance(np.array([[[9, 9, 9, 0]]], np.uint8)) == 9


def test_the_smallest_type_holds_the_same_values() -> None:
    """Batches travel between processes: bytes count."""
    values = np.array([[-3, 300]], np.int64)
    assert smallest(values).dtype == np.int16
    np.testing.assert_array_equal(smallest(values), values)
