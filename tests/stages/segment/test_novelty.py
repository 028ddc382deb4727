from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.batches import Prepared
from stages.errors import OperatorError
from stages.packed import Packed
from stages.preprocess.options import PreprocessOptions
from stages.segment import checkpoint, runtime
from stages.segment.features import Segmenter
from stages.segment.novelty import SHARE, Novelty
from stages.segment.options import ModelConfig, SegmentOptions
from stages.segment.stage import Segment
from training.options import TrainOptions
from training.refit import refit
from training.train import TrainJob, train

TINY = ModelConfig(channels=(8, 16), blocks=(1, 1), feature_dim=16)
RECIPE = PreprocessOptions(size=32, spacing_mm=2.0)
X = np.random.default_rng(0).normal(size=(5, 3, 32, 32)).astype(np.float32)


def patients(count: int = 20, slices: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    """Context of patients that are all alike, in channels of very different size."""
    torch.manual_seed(0)
    scale = torch.logspace(-2, 2, 6)
    return torch.randn(count * slices, 6) * scale + 3, torch.arange(count).repeat_interleave(slices)


def test_unit_is_the_limit_that_other_patients_keep() -> None:
    """A new patient of the same kind is flagged about as often as the share says, another kind always."""
    context, case = patients()
    novelty = Novelty(6)
    over = novelty.fit(context, case)
    assert over == pytest.approx(len(context) * (1 - SHARE), abs=1)
    torch.manual_seed(1)
    alike = torch.randn(400, 6) * torch.logspace(-2, 2, 6) + 3
    assert (novelty(alike) > 1).float().mean() < 0.12
    assert bool((novelty(alike + 8 * torch.logspace(-2, 2, 6)) > 1).all())


def test_a_slice_on_the_limit_is_not_over_it() -> None:
    """The limit is the distance of one of them: above 1 means beyond what the training slices keep."""
    at = 2.0 ** torch.arange(21)  # each one's nearest is the one before: all distances differ but two
    assert Novelty(1).fit(at[:, None], torch.arange(21)) == 1


def test_training_slice_is_like_itself() -> None:
    """Its nearest neighbour is itself, but for rounding to half precision."""
    context, case = patients()
    novelty = Novelty(6)
    novelty.fit(context, case)
    assert novelty(context).max() < 0.05


def test_nothing_fitted_is_not_known() -> None:
    """NaN, never a number that could be taken for an answer; one patient alone stays unfitted."""
    novelty = Novelty(6)
    context, case = patients(1)
    assert novelty.fit(context, case) == 0
    assert not novelty.fitted
    assert bool(novelty(context).isnan().all())


@pytest.fixture
def fitted(tiny: Segmenter, tmp_path: Path) -> Path:
    """Weights that know four patients of noise."""
    torch.manual_seed(0)
    tiny.fit_novelty([torch.randn(12, 3, 32, 32)], torch.arange(4).repeat_interleave(3))
    path = tmp_path / "fitted.safetensors"
    checkpoint.save(tiny, path, RECIPE, {}, {})
    return path


def test_file_keeps_what_was_fitted(tiny: Segmenter, fitted: Path) -> None:
    """The rows come back, and the answer with them; the file without them loads as not known."""
    loaded, _ = checkpoint.load(fitted)
    assert len(loaded.novelty.rows_MC) == 12
    x = torch.from_numpy(X)
    with torch.inference_mode():
        torch.testing.assert_close(
            loaded(x)[2], tiny(x)[2], atol=2e-2, rtol=1e-2
        )  # the net is half precision


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False])
def test_runtimes_agree(tiny_weights: Path, fitted: Path, known: bool) -> None:
    """OpenVINO says what torch says, also that nothing is known."""
    weights = fitted if known else tiny_weights
    answers = [
        runtime.load(weights, "cpu", 1, name)(Packed.of(X)).novelty_N for name in ("torch", "openvino")
    ]
    assert np.isfinite(answers[0]).all() == known
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-3, atol=1e-4)


def test_unlike_slices_are_flagged_by_the_stage(fitted: Path, batch_of: Callable[..., Prepared]) -> None:
    """Noise like the patients' passes, a bright slab does not; both keep their masks."""
    x = np.concatenate((X[:1], np.full((1, 3, 32, 32), 60, np.float32)))
    with Segment(SegmentOptions(weights=fitted, runtime="torch")).open() as run:
        kept = run(batch_of(x)).kept
    assert len(kept) == 2
    assert kept.novelty_N[0] < kept.novelty_N[1]
    assert kept.novelty_N[1] > 1
    assert kept.counters["out_of_distribution"] == int((kept.novelty_N > 1).sum())


@pytest.mark.slow
def test_refit_adds_only_the_statistics(cases: Path, tmp_path: Path) -> None:
    """A file trained before they existed gets them from its own cases; everything else stays."""
    options = TrainOptions(epochs=2, batch=6, model=TINY)
    old, new = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    job = TrainJob(out=old, options=options, preprocess=RECIPE, device="cpu", progress=lambda _: None)
    train(cases, job)
    segmenter, info = checkpoint.load(old)
    wanted = segmenter.state_dict()
    segmenter.novelty = Novelty(TINY.channels[-1])
    checkpoint.save(segmenter, old, info.recipe, info.training, info.metrics)
    assert not checkpoint.load(old)[0].novelty.fitted
    made = refit(old, cases, new)
    found, after = checkpoint.load(new)
    assert (made.digest, made.slices) == (after.digest, 12)
    assert replace(after, path=old, digest="") == replace(info, path=old, digest="")
    assert all(torch.equal(value, wanted[name]) for name, value in found.state_dict().items())
    (cases / "CaseB_segmentation.nii.gz").unlink()
    (cases / "CaseB.nii.gz").unlink()
    with pytest.raises(OperatorError, match="does not hold the cases"):
        refit(old, cases, new)
