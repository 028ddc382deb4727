"""A training saved between two steps and continued in another process is the same training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.preprocess.options import PreprocessOptions
from stages.segment.options import ModelConfig
from training.dataset import read_slices
from training.options import TrainOptions
from training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
TINY = ModelConfig(channels=(8, 16), blocks=(1, 1), feature_dim=16)
RECIPE = PreprocessOptions(size=32, spacing_mm=2.0)
OPTIONS = TrainOptions(epochs=4, batch=3, crop=16, adversarial_share=0.5, model=TINY)  # 4 steps an epoch


def started(cases: Path) -> Trainer:
    return Trainer(read_slices(cases, RECIPE), OPTIONS, "cpu", RECIPE)


def same(one: Any, other: Any) -> bool:
    """Bit for bit, but for seconds."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one if k != "seconds")
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.slow
def test_another_process_goes_on_to_the_batch(cases: Path, tmp_path: Path) -> None:
    """Eleven steps straight equal some steps, a save, and the others in a new process, bit for bit."""
    whole = started(cases)
    for _ in range(11):
        whole.advance()
    saved = {tmp_path / f"{before}.pt": before for before in (3, 4, 6)}
    for path, before in saved.items():
        cut = started(cases)
        for _ in range(before):
            cut.advance()
        cut.save(path)
    left = [word for path, before in saved.items() for word in (str(path), str(11 - before))]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, __file__, str(cases), *left], check=True, cwd=ROOT, env=environment)
    for path in saved:
        found = torch.load(path, weights_only=True)
        assert found["step"] == 11
        assert same(whole.state(), found)


def test_steps_draw_from_the_trainer_s_own_generators(cases: Path) -> None:
    """Torch's and NumPy's global generators are not touched: what is saved is all there is."""
    trainer = started(cases)
    before = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002  # the one that must not change
    for _ in range(5):
        trainer.advance()
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_pass_ends_after_its_last_step(cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve slices in batches of three are four steps, and the mean of their losses is the pass's."""
    losses: list[torch.Tensor] = []
    step = Trainer._step
    monkeypatch.setattr(Trainer, "_step", lambda self, x, y: losses.append(step(self, x, y)) or losses[-1])
    trainer = started(cases)
    assert [trainer.advance() for _ in range(8)] == [False, False, False, True] * 2
    assert [one["epoch"] for one in trainer.history] == [1, 2]
    for passed, part in zip(trainer.history, (losses[:4], losses[4:]), strict=True):
        assert passed["loss"] == float(torch.stack(part).mean())


def go_on(cases: Path, state: Path, steps: int) -> None:
    """What the new process does."""
    torch.set_num_threads(1)
    trainer = started(cases)
    trainer.resume(state)
    for _ in range(steps):
        trainer.advance()
    trainer.save(state)


if __name__ == "__main__":
    for state, steps in zip(sys.argv[2::2], sys.argv[3::2], strict=True):
        go_on(Path(sys.argv[1]), Path(state), int(steps))
