from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.packed import Packed
from stages.segment import checkpoint, stage
from stages.segment.features import Segmenter
from stages.segment.graphs import Form, FromPacked, GraphedSegmenter, form_of, forms_up_to
from stages.segment.options import SegmentOptions
from stages.segment.stage import Segment

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def packed(rows: int, side: int = 32, *, levels: bool = True) -> Packed:
    """Slices that follow each other, a neighbour across a cut at each end."""
    field_MHW = np.random.default_rng(rows).integers(0, 256, (rows + 2, side, side))
    own_N = np.arange(rows)
    channels_NC = np.stack((own_N - 1, own_N, own_N + 1), 1) % (rows + 2)
    slope_M = np.linspace(0.01, 0.02, rows + 2, dtype=np.float32)
    return Packed(field_MHW.astype(np.uint8 if levels else np.float32), slope_M, -100 * slope_M, channels_NC)


@pytest.mark.parametrize(("rows", "filled"), [(1, 1), (2, 2), (3, 4), (32, 32), (33, 64)])
def test_a_batch_is_filled_up_to_a_power_of_two(rows: int, filled: int) -> None:
    """Few graphs serve all batches."""
    assert form_of(packed(rows)) == Form(filled, filled + 2, 3, 32, 32, levels=True)


def test_slices_that_do_not_follow_each_other_have_a_graph_too() -> None:
    """Each channel of a row may be a field of its own."""
    x_NCHW = np.zeros((5, 3, 32, 32), np.float32)
    assert form_of(Packed.of(x_NCHW)) == Form(8, 24, 3, 32, 32, levels=False)


@given(st.integers(1, 256))
def test_the_graphs_made_ahead_are_those_that_batches_need(most: int) -> None:
    """Each one, and no other."""
    needed = {form_of(packed(rows, 2)) for rows in {1, most // 2 + 1, most}}
    made = forms_up_to((most, 3, 2, 2), levels=True)
    assert needed <= set(made)
    assert [form.rows for form in made] == [1 << one for one in range(len(made))]
    assert made[-1] in needed


@pytest.mark.parametrize("levels", [True, False])
def test_input_made_beside_the_network_is_that_of_the_reference(tiny: Segmenter, levels: bool) -> None:
    """On the CPU's tensors, whatever stands in rows that no batch fills."""
    given = packed(5, levels=levels)
    frozen = tiny.frozen()
    form = form_of(given)
    tensors = form.zeros()
    for tensor, values in zip(tensors, given, strict=True):
        tensor.numpy()[: len(values)] = values
    with torch.inference_mode():
        wanted = frozen(torch.from_numpy(given.unpacked()))
        found = FromPacked(frozen)(*tensors)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.numpy()[:5], other.numpy(), atol=1e-5)


def test_a_graph_serves_one_form_of_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of as many slices on another field, or of floats, have a graph of their own."""
    graphed = object.__new__(GraphedSegmenter)
    graphed._by_form = {}
    monkeypatch.setattr(GraphedSegmenter, "_capture", lambda _, form: form)
    for batch in (packed(3), packed(3, 64), packed(4), packed(3, levels=False)):
        assert graphed.captured(form_of(batch)) == form_of(batch)
    assert len(graphed._by_form) == 3


def test_the_stage_asks_for_its_largest_batch_when_it_opens(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch of a stream does not wait for a graph."""
    asked: dict[str, object] = {}

    def load(*given: object, levels: bool) -> object:
        asked.update(largest=given[-1], levels=levels)
        return None

    monkeypatch.setattr(stage, "load", load)
    info = checkpoint.describe(tiny_weights)
    with Segment(SegmentOptions(weights=tiny_weights, batch=24), "cuda").open():
        largest = (24, info.model.in_channels, info.recipe.size, info.recipe.size)
        assert asked == {"largest": largest, "levels": info.recipe.in_levels}


@pytest.mark.gpu
@needs_gpu
def test_graphs_of_one_pool_do_not_disturb_each_other(tiny_weights: Path) -> None:
    """Prepared in one order and asked in another, each shape answers as alone; nothing is captured later."""
    together = GraphedSegmenter(checkpoint.load(tiny_weights)[0].frozen(), "cuda")
    together.prepare((8, 3, 32, 32), levels=True)
    made = dict(together._by_form)
    for rows in (8, 1, 5, 2, 8, 3):
        alone = GraphedSegmenter(checkpoint.load(tiny_weights)[0].frozen(), "cuda")
        for found, wanted in zip(together(packed(rows)), alone(packed(rows)), strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert together._by_form == made


@pytest.mark.gpu
@needs_gpu
def test_two_fields_in_turn(tiny_weights: Path) -> None:
    """The same number of slices on two fields gives each field's answer."""
    graphed = GraphedSegmenter(checkpoint.load(tiny_weights)[0].frozen(), "cuda")
    for side in (32, 64, 32):
        assert graphed(packed(2, side))[0].shape == (2, side, side)
