from __future__ import annotations

from pathlib import Path

import pytest
import torch

from evaluation.pairs import find_pairs
from stages.preprocess.options import PreprocessOptions
from training.background import Stop, Stopped
from training.dataset import read_labelled
from training.options import TrainOptions
from training.plan import Training
from training.session import Session
from training.standing import read_standing

TRAINING = Training("one", attention=False, options=TrainOptions(epochs=2, batch=3))  # 4 steps an epoch


def test_step_under_way_is_taken_and_saved(cases: Path, tmp_path: Path) -> None:
    """Asked to stop in the middle of a pass, a training loses not one step, and takes none more."""
    pairs = find_pairs(cases)
    labelled = {case.name: case for case in read_labelled(pairs, PreprocessOptions())}
    stop, folder = Stop(), tmp_path / "one"
    stop.asked = True
    for step in (1, 2):
        with pytest.raises(Stopped):
            Session(TRAINING, folder, labelled, (), 1).learn(stop, lambda _: None)
        assert torch.load(folder / "state.pt", weights_only=True)["step"] == step
        assert read_standing(TRAINING, folder).fraction == step / 8


def test_patients_left_out_are_not_learned_from(cases: Path, tmp_path: Path) -> None:
    """The slices are those of the other patient, those watched are of the one left out."""
    pairs = find_pairs(cases)
    labelled = {case.name: case for case in read_labelled(pairs, PreprocessOptions())}
    session = Session(TRAINING, tmp_path / "one", labelled, pairs[:1], 1)
    assert torch.equal(session.trainer.slices.x_NCHW, labelled["CaseB"].x_NCHW)
    assert session.watched is not None
    assert torch.equal(session.watched.x_NCHW, labelled["CaseA"].x_NCHW)
