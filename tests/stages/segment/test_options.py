from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from stages.segment.checkpoint import describe
from stages.segment.options import ModelConfig, SegmentOptions


@pytest.mark.parametrize(
    ("name", "least", "most", "step"),
    [("batch", 1, 1024, 1), ("threads", 1, 256, 1), ("threshold", 0.05, 0.95, 0.001)],
)
def test_bounds_are_taken_and_what_is_beyond_them_is_refused(
    name: str, least: float, most: float, step: float
) -> None:
    """A threshold outside would mark everything or nothing."""
    for value in (least, most):
        assert getattr(SegmentOptions(**{name: value}), name) == value  # type: ignore[arg-type]
    for value in (least - step, most + step):
        with pytest.raises(ValidationError, match=name):
            SegmentOptions(**{name: value})  # type: ignore[arg-type]


def test_the_defaults_are_those_that_were_measured() -> None:
    """README.md has figures for these; another value is another measurement."""
    assert SegmentOptions() == SegmentOptions(
        weights=None,
        batch=32,
        threads=1,
        runtime="auto",
        artefacts=None,
        flip_average=False,
        threshold=0.5,
        largest_component=True,
    )


def test_the_default_network_is_that_of_the_shipped_weights() -> None:
    """Training without a word on the network makes weights for what is run."""
    assert ModelConfig() == describe().model


@pytest.mark.parametrize("wrong", [{"channels": (8,), "blocks": (1,)}, {"channels": (8, 8), "blocks": (1,)}])
def test_a_network_of_one_stage_or_of_lists_that_differ_is_refused(wrong: dict[str, Any]) -> None:
    """Its decoder would have nothing to go up."""
    with pytest.raises(ValueError, match="at least two stages"):
        ModelConfig(**wrong)


@pytest.mark.parametrize(("stages", "stride"), [(2, 4), (3, 8), (4, 16)])
def test_the_field_is_halved_by_the_stem_and_each_stage_but_one(stages: int, stride: int) -> None:
    """Its sides are multiples of that."""
    assert ModelConfig(channels=(8,) * stages, blocks=(1,) * stages).stride == stride
