from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.pairs import CaseError
from stages.errors import OperatorError
from stages.preprocess.options import PreprocessOptions
from stages.segment import checkpoint
from stages.segment.checkpoint import WeightsError
from stages.segment.options import ModelConfig
from training.dataset import read_slices
from training.loss import segmentation_loss
from training.options import TrainOptions
from training.train import Progress, TrainJob, train
from training.trainer import ResumeError, Trainer, schedule

TINY = ModelConfig(channels=(8, 16), blocks=(1, 1), feature_dim=16)
RECIPE = PreprocessOptions(size=32, spacing_mm=2.0)


class KilledError(Exception):
    """Stands for the end of a process after an epoch."""


def run(
    data: Path,
    out: Path,
    options: TrainOptions,
    *,
    resume: bool = False,
    die_after: int = 0,
    recipe: PreprocessOptions = RECIPE,
) -> list[Progress]:
    """Train, with every epoch's progress; die as a process would."""
    seen: list[Progress] = []

    def progress(one: Progress) -> None:
        seen.append(one)
        if one.epoch == die_after:
            raise KilledError

    train(
        data,
        TrainJob(out=out, options=options, preprocess=recipe, device="cpu", progress=progress, resume=resume),
    )
    return seen


@pytest.mark.slow
def test_two_cases_are_learned(cases: Path, tmp_path: Path) -> None:
    """The model fits what it sees, and the file states the Dice that was measured on it."""
    options = TrainOptions(epochs=60, batch=6, learning_rate=0.01, model=TINY, validation=cases)
    out = tmp_path / "out" / "weights.safetensors"
    seen = run(cases, out, options)
    info = checkpoint.describe(out)
    assert seen[-1].epoch == 60
    assert seen[-1].fraction == 1
    assert seen[-1].loss < seen[0].loss / 2
    assert info.metrics["mean"]["dice_volume"] > 0.8
    assert [case["name"] for case in info.metrics["cases"]] == ["CaseA", "CaseB"]
    assert (info.training["cases"], info.training["slices"], info.training["epochs"]) == (2, 12, 60)
    assert info.recipe == RECIPE


@pytest.mark.slow
def test_resumed_training_is_the_same_training(
    cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after two of three epochs and resumed, it ends with the very bytes of the whole run."""
    monkeypatch.setattr("training.train.SAVE_S", 0.0)
    options = TrainOptions(epochs=3, batch=6, model=TINY)
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    run(cases, whole, options)
    with pytest.raises(KilledError):
        run(cases, cut, options, die_after=2)
    assert not cut.exists()
    assert [one.epoch for one in run(cases, cut, options, resume=True)] == [3]
    wanted, found = checkpoint.load(whole)[0].state_dict(), checkpoint.load(cut)[0].state_dict()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


@pytest.mark.slow
def test_another_seed_is_another_training(cases: Path, tmp_path: Path) -> None:
    """The seed decides, nothing else."""
    states = []
    for seed in (0, 0, 1):
        run(cases, tmp_path / "w.safetensors", TrainOptions(epochs=1, batch=6, seed=seed, model=TINY))
        states.append(checkpoint.load(tmp_path / "w.safetensors")[0].net.head.weight)
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.slow
def test_minutes_end_the_training(cases: Path, tmp_path: Path) -> None:
    """A time budget is the schedule, whatever number of epochs would have ended it sooner."""
    options = TrainOptions(epochs=1, minutes=0.02, batch=6, model=TINY)
    seen = run(cases, tmp_path / "w.safetensors", options)
    assert seen[-1].fraction == 1
    assert seen[-1].epoch > 1
    assert 1.2 <= seen[-1].seconds < 10


def test_the_state_is_not_saved_after_each_short_epoch(
    cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch of a GPU is shorter than writing the state; the last one is kept."""
    saved = []
    monkeypatch.setattr(Trainer, "save", lambda trainer, _: saved.append(trainer.epoch))
    run(cases, tmp_path / "w.safetensors", TrainOptions(epochs=3, batch=6, model=TINY))
    assert saved == [3]


def test_resume_without_a_state_is_an_error(cases: Path, tmp_path: Path) -> None:
    """There is nothing to resume, said with the file's name."""
    with pytest.raises(ResumeError, match=r"w\.pt does not exist"):
        run(cases, tmp_path / "w.safetensors", TrainOptions(model=TINY), resume=True)


def test_resume_with_other_options_is_an_error(cases: Path, tmp_path: Path) -> None:
    """A saved state belongs to its options; only the length of the schedule may change."""
    out = tmp_path / "w.safetensors"
    run(cases, out, TrainOptions(epochs=1, batch=6, model=TINY))
    with pytest.raises(ResumeError, match="other data or options"):
        run(cases, out, TrainOptions(epochs=1, batch=6, seed=5, model=TINY), resume=True)
    assert [p.epoch for p in run(cases, out, TrainOptions(epochs=2, batch=6, model=TINY), resume=True)] == [2]


def test_damaged_state_is_an_error(cases: Path, tmp_path: Path) -> None:
    """A state cut short is named, whatever reads it."""
    out = tmp_path / "w.safetensors"
    run(cases, out, TrainOptions(epochs=1, batch=6, model=TINY))
    state = out.with_suffix(".pt")
    state.write_bytes(state.read_bytes()[:5000])
    with pytest.raises(ResumeError, match=r"w\.pt is damaged"):
        run(cases, out, TrainOptions(epochs=2, batch=6, model=TINY), resume=True)


def test_wrong_validation_folder_is_said_before_training(cases: Path, tmp_path: Path) -> None:
    """Nothing is trained in vain."""
    options = TrainOptions(epochs=1, model=TINY, validation=tmp_path / "nowhere")
    with pytest.raises(CaseError, match="nowhere"):
        run(cases, tmp_path / "w.safetensors", options)
    assert not (tmp_path / "w.pt").exists()


def test_epochs_are_counted_whatever_the_batch(cases: Path, tmp_path: Path) -> None:
    """Twelve slices in batches of eleven leave one over; two epochs stay two."""
    seen = run(cases, tmp_path / "w.safetensors", TrainOptions(epochs=2, batch=11, model=TINY))
    assert [one.epoch for one in seen] == [1, 2]


def test_folder_without_cases_is_an_error(tmp_path: Path) -> None:
    """Nothing is written."""
    with pytest.raises(CaseError, match="holds no case"):
        run(tmp_path, tmp_path / "w.safetensors", TrainOptions(model=TINY))
    assert list(tmp_path.iterdir()) == []


def test_schedule_warms_up_and_ends_at_zero() -> None:
    """Its top is at the end of the warm-up."""
    assert schedule(0) == pytest.approx(0.01)
    assert schedule(0.04) == pytest.approx(1)
    assert schedule(1) == pytest.approx(0)


@pytest.mark.slow
def test_training_starts_from_a_weights_file(cases: Path, tmp_path: Path) -> None:
    """The first step is taken from its network; the record names its digest and no path."""
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    run(cases, first, TrainOptions(epochs=30, batch=6, learning_rate=0.01, model=TINY))
    options = TrainOptions(epochs=1, batch=6, learning_rate=1e-6, average_decay=0, init=first, model=TINY)
    run(cases, second, options)
    wanted, found = (checkpoint.load(path)[0].net.state_dict() for path in (first, second))
    for name, value in wanted.items():
        if "norm" not in name:  # their statistics follow the new batches
            torch.testing.assert_close(found[name], value, atol=2e-3, rtol=0)
    info = checkpoint.describe(second)
    assert info.training["init_digest"] == checkpoint.describe(first).digest
    assert str(tmp_path) not in json.dumps(info.training)
    assert checkpoint.describe(first).digest in second.with_suffix(".md").read_text()


def test_weights_of_another_network_are_no_start(cases: Path, tmp_path: Path) -> None:
    """The file is named, and what differs."""
    first = tmp_path / "first.safetensors"
    run(cases, first, TrainOptions(epochs=1, batch=6, model=TINY))
    other = replace(TINY, attention=False)
    with pytest.raises(checkpoint.WeightsError, match=r"first\.safetensors holds another network"):
        run(cases, tmp_path / "w.safetensors", TrainOptions(init=first, model=other))


def test_attack_raises_the_loss_within_its_bound(cases: Path) -> None:
    """One signed step from a random start hurts, and no pixel moves further than asked."""
    options = TrainOptions(model=TINY, adversarial_step=0.1)
    trainer = Trainer(read_slices(cases, RECIPE), options, "cpu", RECIPE)
    x, truth = trainer.slices.x_NCHW[:6], trainer.slices.truth_N1HW[:6]
    attacked = trainer._attacked(x, truth)
    assert (attacked - x).abs().max() <= 0.1 + 1e-6
    trainer.net.eval()
    with torch.no_grad():
        before, after = (float(segmentation_loss(trainer.net(one), truth)) for one in (x, attacked))
    assert after > before
    assert trainer.net.train().training


def test_share_of_attacked_steps_is_the_one_asked_for(cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None at 0, every one at 1."""
    attacked = []
    monkeypatch.setattr(Trainer, "_attacked", lambda _, x, __: attacked.append(1) or x)
    slices = read_slices(cases, RECIPE)
    for share, steps in ((0.0, 0), (1.0, 2)):
        attacked.clear()
        Trainer(slices, TrainOptions(batch=6, model=TINY, adversarial_share=share), "cpu", RECIPE).run_epoch()
        assert len(attacked) == steps


@pytest.mark.slow
def test_validation_is_looked_at_now_and_then(cases: Path, tmp_path: Path) -> None:
    """Every second epoch reports the Dice of the held-out cases; looking does not change the training."""
    watched = TrainOptions(epochs=4, batch=6, model=TINY, validation=cases, validation_epochs=2)
    seen = run(cases, tmp_path / "a.safetensors", watched)
    assert [one.validation_dice is not None for one in seen] == [False, True, False, True]
    assert all(0 <= one.validation_dice <= 1 for one in seen if one.validation_dice is not None)
    run(cases, tmp_path / "b.safetensors", replace(watched, validation=None))
    one, other = (checkpoint.load(tmp_path / f"{n}.safetensors")[0].state_dict() for n in "ab")
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_card_and_curves_lie_beside_the_weights(cases: Path, tmp_path: Path) -> None:
    """The card states the digest, every option and every case; the curves are a picture."""
    out = tmp_path / "w.safetensors"
    run(cases, out, TrainOptions(epochs=2, batch=6, model=TINY, validation=cases, validation_epochs=1))
    card, info = out.with_suffix(".md").read_text(), checkpoint.describe(out)
    assert info.digest in card
    assert info.training["data_digest"] in card
    assert all(f"| {name} |" in card for name in info.training["options"])
    assert all(f"| {case['name']} | {case['dice_volume']:.3f} |" in card for case in info.metrics["cases"])
    with Image.open(out.with_suffix(".png")) as picture:
        assert len(np.unique(np.asarray(picture))) > 10


def test_squares_first_whole_fields_at_last(cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last fifth of the steps, five passes of two steps, sees what inference will see."""
    sides: list[int] = []
    step = Trainer._step
    monkeypatch.setattr(Trainer, "_step", lambda self, x, y: sides.append(x.shape[-1]) or step(self, x, y))
    trainer = Trainer(
        read_slices(cases, RECIPE), TrainOptions(epochs=5, batch=6, crop=16, model=TINY), "cpu", RECIPE
    )
    while trainer.fraction < 1:
        trainer.run_epoch()
    assert sides == [16] * 8 + [32] * 2


def test_squares_must_fit_the_network() -> None:
    """A side that cannot be halved to the bottleneck is refused with both numbers."""
    with pytest.raises(ValueError, match="crop 18 is not a multiple of the network's stride 4"):
        TrainOptions(crop=18, model=TINY)


def test_field_must_fit_the_network(cases: Path, tmp_path: Path) -> None:
    """Said before training, not when whole fields begin."""
    options = TrainOptions(crop=32, model=ModelConfig(channels=(8,) * 5, blocks=(1,) * 5, feature_dim=16))
    with pytest.raises(OperatorError, match=r"preprocess\.size 48 is not a multiple of .* stride 32"):
        run(cases, tmp_path / "w.safetensors", options, recipe=PreprocessOptions(size=48, spacing_mm=2.0))


def test_resume_behind_another_preprocessing_is_an_error(cases: Path, tmp_path: Path) -> None:
    """One network has seen one kind of slices."""
    out = tmp_path / "w.safetensors"
    run(cases, out, TrainOptions(epochs=1, batch=6, model=TINY))
    longer = TrainOptions(epochs=2, batch=6, model=TINY)
    with pytest.raises(ResumeError, match="other data or options"):
        run(cases, out, longer, resume=True, recipe=replace(RECIPE, zscore=False))


def test_foreign_state_is_an_error(cases: Path, tmp_path: Path) -> None:
    """A file of torch's that no training wrote."""
    torch.save({"net": {}}, tmp_path / "w.pt")
    with pytest.raises(ResumeError, match=r"w\.pt is damaged or foreign"):
        run(cases, tmp_path / "w.safetensors", TrainOptions(model=TINY), resume=True)


@pytest.mark.parametrize("name", ["w.md", "w.png", "w.pt", "w.1", "w"])
def test_weights_have_one_suffix(cases: Path, tmp_path: Path, name: str) -> None:
    """What lies beside the weights would overwrite them."""
    with pytest.raises(WeightsError, match=r"must be named \.safetensors"):
        run(cases, tmp_path / name, TrainOptions(model=TINY))
    assert not (tmp_path / name).exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("compiled", [False, True])
def test_training_on_cuda_learns(cases: Path, tmp_path: Path, compiled: bool) -> None:
    """bfloat16, from graphs, augmented on the device: the loss falls as on the CPU."""
    options = TrainOptions(epochs=40, batch=6, learning_rate=0.01, model=TINY, compile=compiled)
    losses: list[float] = []
    job = TrainJob(
        out=tmp_path / "w.safetensors",
        options=options,
        preprocess=RECIPE,
        device="cuda",
        progress=lambda one: losses.append(one.loss),
    )
    train(cases, job)
    assert losses[-1] < losses[0] / 1.5
