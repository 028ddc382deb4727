from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.engine.flow import FlowOptions

BOUNDS = [
    ("window_rows", 1, 65_536),
    ("window_bytes", 1_000_000, None),
    ("block", 1, 1024),
    ("blocks", 1, 64),
    ("deliveries", 1, 1024),
    ("object_store_bytes", 100_000_000, None),
]


@pytest.mark.parametrize(("name", "least", "most"), BOUNDS)
def test_bounds_are_taken_and_what_is_beyond_them_is_refused(name: str, least: int, most: int | None) -> None:
    """A block of 1025 has no slots in the key, a window of nothing lets nothing in."""
    for value in (least, most or 10**15):
        assert getattr(FlowOptions(**{name: value}), name) == value
    for value in (least - 1, *([] if most is None else [most + 1])):
        with pytest.raises(ValidationError, match=name):
            FlowOptions(**{name: value})


@pytest.mark.parametrize("given", [{"block_age_s": 0.0}, {"replicas": {"x": 0}}, {"replicas": {"x": 1025}}])
def test_no_time_and_no_process_are_refused(given: dict[str, Any]) -> None:
    """A block of no age never fills, and a stage without a process never runs."""
    with pytest.raises(ValidationError, match=next(iter(given))):
        FlowOptions(**given)
    assert FlowOptions(block_age_s=1e-3, replicas={"x": 1, "y": 1024}).replicas == {"x": 1, "y": 1024}


def test_the_defaults_are_those_that_were_measured() -> None:
    """README.md has figures for these; another value is another measurement."""
    assert FlowOptions() == FlowOptions(
        window_rows=256,
        window_bytes=512_000_000,
        block=1024,
        block_age_s=30.0,
        blocks=2,
        deliveries=8,
        object_store_bytes=1_000_000_000,
        hops=("ingest+preprocess", "segment", "encrypt+append"),
        replicas={},
    )
