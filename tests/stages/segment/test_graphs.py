from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.segment import checkpoint, stage
from stages.segment.graphs import GraphedSegmenter, filled_up, shapes_up_to
from stages.segment.options import SegmentOptions
from stages.segment.stage import Segment

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize(("rows", "filled"), [(0, 1), (1, 1), (2, 2), (3, 4), (32, 32), (33, 64)])
def test_a_batch_is_filled_up_to_a_power_of_two(rows: int, filled: int) -> None:
    """Few graphs serve all batches."""
    assert filled_up((rows, 3, 128, 96)) == (filled, 3, 128, 96)


@given(st.integers(1, 1024))
def test_the_graphs_made_ahead_are_those_that_batches_need(most: int) -> None:
    """Each one, and no other."""
    needed = {filled_up((rows, 3, 8, 8)) for rows in range(1, most + 1)}
    made = shapes_up_to((most, 3, 8, 8))
    assert set(made) == needed
    assert len(made) == len(needed)


def test_a_graph_serves_one_shape_of_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of as many slices on another field have a graph of their own."""
    graphed = object.__new__(GraphedSegmenter)
    graphed._by_shape = {}
    monkeypatch.setattr(GraphedSegmenter, "_capture", lambda _, shape: shape)
    assert graphed.captured((3, 3, 32, 32)) == (4, 3, 32, 32)
    assert graphed.captured((3, 3, 64, 64)) == (4, 3, 64, 64)
    assert graphed.captured((4, 3, 32, 32)) == (4, 3, 32, 32)
    assert len(graphed._by_shape) == 2


def test_the_stage_asks_for_its_largest_batch_when_it_opens(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch of a stream does not wait for a graph."""
    asked = []

    def load(*given: object) -> object:
        asked.append(given)
        return None

    monkeypatch.setattr(stage, "load", load)
    info = checkpoint.describe(tiny_weights)
    with Segment(SegmentOptions(weights=tiny_weights, batch=24), "cuda").open():
        assert asked[0][-1] == (24, info.model.in_channels, info.recipe.size, info.recipe.size)


@pytest.mark.gpu
@needs_gpu
def test_graphs_of_one_pool_do_not_disturb_each_other(tiny_weights: Path) -> None:
    """Prepared in one order and asked in another, each shape answers as alone; nothing is captured later."""
    x_NCHW = np.random.default_rng(0).normal(size=(8, 3, 32, 32)).astype(np.float32)
    together = GraphedSegmenter(checkpoint.load(tiny_weights)[0].frozen(), "cuda")
    together.prepare(x_NCHW.shape)
    made = dict(together._by_shape)
    for rows in (8, 1, 5, 2, 8, 3):
        alone = GraphedSegmenter(checkpoint.load(tiny_weights)[0].frozen(), "cuda")
        for found, wanted in zip(together(x_NCHW[:rows]), alone(x_NCHW[:rows]), strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert together._by_shape == made


@pytest.mark.gpu
@needs_gpu
def test_two_fields_in_turn(tiny_weights: Path) -> None:
    """The same number of slices on two fields gives each field's answer."""
    graphed = GraphedSegmenter(checkpoint.load(tiny_weights)[0].frozen(), "cuda")
    small, large = (np.ones((2, 3, side, side), np.float32) for side in (32, 64))
    for x_NCHW in (small, large, small):
        assert graphed(x_NCHW)[0].shape == (2, *x_NCHW.shape[2:])
