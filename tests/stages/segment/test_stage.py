from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.base import Reason, Split
from stages.batches import Prepared, Segmented
from stages.segment.checkpoint import WeightsError
from stages.segment.options import SegmentOptions
from stages.segment.runtime import Inference
from stages.segment.stage import Segment, confidence

BatchOf = Callable[..., Prepared]
Run = Callable[[Prepared], Split[Segmented]]


@pytest.fixture
def run(tiny_weights: Path) -> Iterator[Run]:
    """The opened stage with the tiny model."""
    with Segment(SegmentOptions(weights=tiny_weights, batch=4, runtime="torch"), "cpu").open() as function:
        yield function


def noise(count: int) -> np.ndarray:
    """Model input of no meaning."""
    return np.random.default_rng(0).normal(size=(count, 3, 32, 32)).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 4, 9])
def test_every_row_comes_back(run: Run, batch_of: BatchOf, count: int) -> None:
    """Any number of rows, also none and more than one pass takes."""
    kept = run(batch_of(noise(count), (50, 70))).kept
    assert len(kept) == len(kept.masks) == count
    assert kept.feature_ND.shape == (count, 16)
    assert all(mask.unpack().shape == (50, 70) for mask in kept.masks)
    np.testing.assert_allclose(np.linalg.norm(kept.feature_ND, axis=1), np.ones(count), atol=1e-4)
    assert ((kept.confidence_N >= 0) & (kept.confidence_N <= 1)).all()
    assert kept.confidence_N.dtype == kept.feature_ND.dtype == np.float32


def test_passes_do_not_change_the_answer(tiny_weights: Path, batch_of: BatchOf) -> None:
    """Nine rows in one pass or in three are the same rows."""
    answers = []
    for size in (4, 32):
        options = SegmentOptions(weights=tiny_weights, batch=size, runtime="torch")
        with Segment(options).open() as function:
            answers.append(function(batch_of(noise(9))).kept)
    np.testing.assert_allclose(answers[0].feature_ND, answers[1].feature_ND, atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_row_that_is_not_finite_is_degenerate(run: Run, batch_of: BatchOf, value: float) -> None:
    """It goes alone; its neighbours in the batch stay."""
    x = noise(5)
    x[2, 1, 7, 7] = value
    split = run(batch_of(x))
    assert [(r.key[-1], r.stage, r.reason) for r in split.rejected] == [(2, "segment", Reason.DEGENERATE)]
    assert [key[-1] for key in split.kept.rows.keys] == [0, 1, 3, 4]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.floats(width=32), min_size=1, max_size=4),
    shape=st.tuples(st.integers(8, 90), st.integers(8, 90)),
    dotted=st.booleans(),
)
def test_no_pixel_values_crash_the_stage(
    run: Run, batch_of: BatchOf, values: list[float], shape: tuple[int, int], dotted: bool
) -> None:
    """Constant, huge, tiny or not finite, square or not: kept and rejected add up, what is kept is sound."""
    x = np.zeros((len(values), 3, 32, 32), np.float32)
    x[:, :, :: 5 if dotted else 1] = np.array(values, np.float32)[:, None, None, None]
    split = run(batch_of(x, shape))
    assert len(split.kept) + len(split.rejected) == len(values)
    assert np.isfinite(split.kept.feature_ND).all()
    assert np.isfinite(split.kept.confidence_N).all()
    assert all(mask.shape == shape for mask in split.kept.masks)


def test_input_of_another_recipe_is_an_error(run: Run, batch_of: BatchOf) -> None:
    """A field of the wrong size names both shapes and what to do."""
    with pytest.raises(WeightsError, match=r"\(3, 32, 32\).*\(3, 48, 48\).*recipe"):
        run(batch_of(np.zeros((1, 3, 48, 48))))


def test_missing_weights_are_an_error(tmp_path: Path) -> None:
    """Opening names the file."""
    stage = Segment(SegmentOptions(weights=tmp_path / "none.safetensors"))
    with pytest.raises(WeightsError, match=r"none\.safetensors"), stage.open():
        pass


def test_masks_are_as_the_network_gives_them(
    monkeypatch: pytest.MonkeyPatch, tiny_weights: Path, batch_of: BatchOf
) -> None:
    """What is stray is judged where the stack is whole: an object, an island and a hole stay."""
    probability_NHW = np.zeros((2, 32, 32), np.float32)
    probability_NHW[:, 4:20, 4:20] = 1
    probability_NHW[1, 8:12, 8:12] = 0
    probability_NHW[1, 24:28, 24:28] = 1
    features_ND = np.eye(2, 16, dtype=np.float32)
    answer = Inference(probability_NHW, features_ND, np.zeros(2, np.float32))
    monkeypatch.setattr("stages.segment.stage.load", lambda *_, **__: lambda _x: answer)
    with Segment(SegmentOptions(weights=tiny_weights), "cpu").open() as work:
        mask_HW = work(batch_of(noise(2), (32, 32))).kept.masks[1].unpack()
    labels = [cv2.connectedComponents(one.astype(np.uint8))[0] for one in (mask_HW, 1 - mask_HW)]
    assert labels == [3, 3]


def test_stage_travels(tiny_weights: Path) -> None:
    """A recipe is picklable, and equal after it."""
    stage = Segment(SegmentOptions(weights=tiny_weights), "cpu")
    assert pickle.loads(pickle.dumps(stage)) == stage  # noqa: S301  # our own bytes
    assert stage.name == "segment"


def test_confidence_by_hand() -> None:
    """The mean of |2p - 1| over the mask; of an empty mask, |2p - 1| at its likeliest pixel."""
    probability = np.zeros((4, 2, 2), np.float32)
    probability[0] = [[0.9, 0.7], [0.4, 0.0]]
    probability[1] = [[0.2, 0.1], [0.0, 0.0]]
    probability[3] = [[0.4, 0.0], [0.0, 0.9]]
    np.testing.assert_allclose(confidence(probability, 0.5), [0.6, 0.6, 1.0, 0.8], rtol=1e-6)


@pytest.mark.parametrize("field", [{"batch": 0}, {"threads": 0}, {"threshold": 1.0}, {"runtime": "onnx"}])
def test_options_out_of_range_are_refused(field: dict[str, object]) -> None:
    """Bounds are checked where the options are made."""
    with pytest.raises(ValueError, match=next(iter(field))):
        SegmentOptions(**field)
