from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.grid import Display
from stages.ingest.geometry import display, spacing, spacing_fault

LEFT, POSTERIOR, HEAD = np.eye(3)


def shown(image_HW: np.ndarray, turned: Display) -> np.ndarray:
    """The definition in ``Display``: transpose first, then the flips."""
    image_HW = image_HW.T if turned.transpose else image_HW
    image_HW = image_HW[::-1] if turned.flip_rows else image_HW
    return image_HW[:, ::-1] if turned.flip_columns else image_HW


@pytest.mark.parametrize("down", [POSTERIOR, -POSTERIOR, LEFT, -LEFT])
@pytest.mark.parametrize("flip", [1, -1])
def test_all_eight_axial_orientations_show_the_same_view(down: np.ndarray, flip: int) -> None:
    """However it is stored, the image of "how far posterior" grows downwards, "how far left" rightwards."""
    right = flip * (POSTERIOR if abs(down @ LEFT) else LEFT)
    at = np.arange(5)[:, None, None] * down + np.arange(4)[None, :, None] * right  # [H, W, LPS]
    turned = display(down, right)
    assert (np.diff(shown(at @ POSTERIOR, turned), axis=0) > 0).all()
    assert (np.diff(shown(at @ LEFT, turned), axis=1) > 0).all()


@pytest.mark.parametrize(("degrees", "axial"), [(0, True), (12, True), (29, True), (31, False), (90, False)])
def test_slices_tilted_beyond_thirty_degrees_are_shown_as_stored(degrees: float, axial: bool) -> None:
    """A sagittal or coronal image has no posterior-to-left view to be turned to."""
    tilt = math.radians(degrees)
    down = -(math.cos(tilt) * POSTERIOR + math.sin(tilt) * HEAD)
    assert display(down, LEFT).flip_rows == axial


@given(st.lists(st.floats(), min_size=6, max_size=6))
def test_any_six_numbers_give_a_view(numbers: list[float]) -> None:
    """A header may hold zeros, infinities or no numbers."""
    with np.errstate(all="ignore"):
        assert isinstance(display(numbers[3:], numbers[:3]), Display)


@pytest.mark.parametrize("cosines", [[0] * 6, [1, 0, 0, 1, 0, 0], [math.nan] * 6])
def test_directions_that_span_no_plane_leave_the_image_as_stored(cosines: list[float]) -> None:
    """Unknown orientation is all False."""
    assert display(cosines[3:], cosines[:3]) == Display()


@pytest.mark.parametrize(
    ("values", "believed"),
    [
        ((0.5, 0.7), (0.5, 0.7)),
        (None, None),
        ((0.0, 0.5), None),
        ((-1.0, 1.0), None),
        ((1e6, 1.0), None),
        ((math.nan, 1.0), None),
        ((0.00125, 0.00125), None),  # metres, or microns
        ((12.0, 12.0), None),
    ],
)
def test_spacing_is_unknown_where_it_is_not_believable(
    values: tuple[float, float] | None, believed: tuple[float, float] | None
) -> None:
    """Zero, negative or huge millimetres are a header's mistake; a wrong scale is worse than none."""
    assert spacing(values) == believed
    if values is not None:
        assert (spacing_fault(values) == "") is (believed is not None)
