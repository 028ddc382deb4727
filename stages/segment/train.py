"""Training: labelled cases to a weights file that says how it was made and what it reaches.

The moving average's last weights are kept: no epoch is chosen by its validation figures. With ``epochs``
alone the result depends on nothing but data, options and seed; with ``minutes`` the schedule follows the
clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter

from stages.preprocess.stage import Preprocess, PreprocessOptions
from stages.segment import checkpoint
from stages.segment.cases import find_pairs, read_case
from stages.segment.dataset import read_slices
from stages.segment.features import Segmenter
from stages.segment.scoring import Evaluation, evaluate_cases
from stages.segment.stage import Segment, SegmentOptions
from stages.segment.trainer import ResumeError, Trainer, TrainOptions

__all__ = ["Progress", "ResumeError", "TrainOptions", "TrainReport", "train"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands after an epoch."""

    epoch: int
    fraction: float  # of the schedule, 0..1
    loss: float
    seconds: float  # of training so far, earlier runs included


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a finished training left."""

    weights: Path
    epochs: int
    seconds: float
    loss: float
    validation: Evaluation | None


def train(
    data: Path,
    out: Path,
    options: TrainOptions,
    *,
    resume: bool,
    progress: Callable[[Progress], None],
    preprocess: PreprocessOptions,
    device: str,
) -> TrainReport:
    """Train on the cases in ``data`` and write ``out``; the state lies beside it as ``.pt`` meanwhile.

    Raises CaseError for bad data and ResumeError when there is nothing fitting to resume.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    if options.validation is not None:
        find_pairs(options.validation)  # a wrong folder is said now, not after hours
    trainer = Trainer(read_slices(data, preprocess), options, device)
    state_path = out.with_suffix(".pt")
    if resume:
        trainer.resume(state_path)
    while trainer.fraction < 1:
        trainer.run_epoch()
        trainer.save(state_path)
        progress(Progress(trainer.epoch, trainer.fraction, trainer.loss, trainer.seconds))
    evaluation = _finish(trainer, out, preprocess)
    return TrainReport(out, trainer.epoch, trainer.seconds, trainer.loss, evaluation)


def _finish(trainer: Trainer, out: Path, recipe: PreprocessOptions) -> Evaluation | None:
    """Fit the features on the weights as stored, write, measure what was written, write the figures."""
    segmenter = Segmenter(trainer.options.model)
    segmenter.net.load_state_dict(trainer.average.module.state_dict())
    segmenter.half().float().eval()  # the stored precision
    segmenter.fit(torch.split(trainer.slices.x_NCHW, trainer.options.batch))
    options = TypeAdapter(TrainOptions).dump_python(trainer.options, mode="json", exclude={"validation"})
    training = {
        "options": options,
        "data_digest": trainer.slices.digest,
        "cases": trainer.slices.cases,
        "slices": len(trainer.slices),
        "epochs": trainer.epoch,
        "seconds": round(trainer.seconds),
        "loss": trainer.loss,
    }
    checkpoint.save(segmenter, out, recipe, training, {})
    if trainer.options.validation is None:
        return None
    cases = [read_case(pair) for pair in find_pairs(trainer.options.validation)]
    segment = Segment(SegmentOptions(weights=out, runtime="torch", threads=trainer.options.threads), "cpu")
    with Preprocess(recipe).open() as prepare, segment.open() as infer:
        evaluation = evaluate_cases(cases, prepare, infer)
    checkpoint.save(segmenter, out, recipe, training, evaluation.as_json())
    return evaluation
