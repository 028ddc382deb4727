from __future__ import annotations

import pytest
from pydantic import ValidationError

from stages.preprocess.options import PreprocessOptions
from stages.segment.checkpoint import describe
from stages.segment.options import SegmentOptions

BOUNDS = [
    ("size", 32, 1024, 16),
    ("spacing_mm", 0.1, 10, 0.01),
    ("low_percentile", 0, 49, 0.01),
    ("high_percentile", 51, 100, 0.01),
    ("clahe_clip_limit", 0, 40, 0.01),
    ("clahe_tiles", 1, 16, 1),
]


@pytest.mark.parametrize(("name", "least", "most", "step"), BOUNDS)
def test_bounds_are_taken_and_what_is_beyond_them_is_refused(
    name: str, least: float, most: float, step: float
) -> None:
    """A value outside would be an image that shows nothing."""
    for value in (least, most):
        assert getattr(PreprocessOptions(**{name: value}), name) == value  # type: ignore[arg-type]
    for value in (least - step, most + step):
        with pytest.raises(ValidationError, match=name):
            PreprocessOptions(**{name: value})  # type: ignore[arg-type]


def test_the_side_of_the_field_is_a_multiple_of_sixteen() -> None:
    """The network halves it four times."""
    assert PreprocessOptions(size=48).size == 48
    for size in (40, 56, 129):
        with pytest.raises(ValidationError, match="size"):
            PreprocessOptions(size=size)


def test_the_defaults_are_what_the_weights_were_trained_on() -> None:
    """Whoever configures nothing gets the recipe of the weights that come with the product."""
    describe(SegmentOptions().weights).refuse_other_recipe(PreprocessOptions())
