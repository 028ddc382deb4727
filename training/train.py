"""Training: labelled cases to a weights file that states its recipe and its measured figures.

The file holds the last weights of the moving average: validation figures choose no epoch. With ``epochs``
alone the result depends on data, options and seed only; with ``minutes`` the schedule follows the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import TypeAdapter

from evaluation.cases import read_case
from evaluation.pairs import Pair, find_pairs
from evaluation.scoring import Evaluation, evaluate_cases
from stages.files import make_directory, write_whole
from stages.preprocess.options import PreprocessOptions
from stages.preprocess.stage import Preprocess
from stages.segment import checkpoint
from stages.segment.features import Segmenter
from stages.segment.options import SegmentOptions
from stages.segment.stage import Segment
from training import card
from training.dataset import Slices, joined, read_labelled, read_slices
from training.options import TrainOptions
from training.trainer import Trainer

SAVE_S: Final = 30.0  # seconds of training that a crash may cost; a GPU's epoch takes a fraction of one


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands after an epoch."""

    epoch: int
    fraction: float  # of the schedule, 0..1
    loss: float
    seconds: float  # of training so far, earlier runs included
    validation_dice: float | None = None  # pooled, on the field; only of epochs that measured it


@dataclass(frozen=True, slots=True)
class TrainReport:
    """The files and figures of a finished training."""

    weights: Path
    epochs: int
    seconds: float
    loss: float
    validation: Evaluation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """The options of a training and the paths of its files, apart from its data."""

    out: Path  # the weights file
    options: TrainOptions
    preprocess: PreprocessOptions
    device: str
    progress: Callable[[Progress], None]
    resume: bool = False


def train(data: Path, job: TrainJob) -> TrainReport:
    """Train on the cases in ``data`` and write ``job.out``; meanwhile its state lies beside it as ``.pt``.

    Beside the weights come their model card and the curves of loss and validation Dice. Raises CaseError for
    bad data, WeightsError for a name that does not end in .safetensors, and ResumeError where no matching
    state exists to resume.
    """
    checkpoint.refuse_other_suffix(job.out)
    folder = job.options.validation
    held_out = () if folder is None else find_pairs(folder)  # a wrong folder fails now, not after hours
    return fit(read_slices(data, job.preprocess), held_out, job)


def fit(slices: Slices, held_out: Sequence[Pair], job: TrainJob) -> TrainReport:
    """``train`` on slices in memory, measured on the cases held out."""
    make_directory(job.out.parent)
    torch.set_num_threads(job.options.threads)
    watched = joined(read_labelled(held_out, job.preprocess)) if held_out else None
    trainer = Trainer(slices, job.options, job.device, job.preprocess)
    state_path = job.out.with_suffix(".pt")
    if job.resume:
        trainer.resume(state_path)
    saved_s = time.monotonic()
    while trainer.fraction < 1:
        trainer.run_epoch()
        due = watched is not None and trainer.epoch % job.options.validation_epochs == 0
        dice = trainer.validate(watched) if due and watched is not None else None
        if trainer.fraction >= 1 or time.monotonic() - saved_s >= SAVE_S:
            trainer.save(state_path)
            saved_s = time.monotonic()
        job.progress(Progress(trainer.epoch, trainer.fraction, trainer.loss, trainer.seconds, dice))
    evaluation = finish(trainer, held_out, job.out, job.preprocess)
    return TrainReport(job.out, trainer.epoch, trainer.seconds, trainer.loss, evaluation)


def finish(
    trainer: Trainer, held_out: Sequence[Pair], out: Path, recipe: PreprocessOptions
) -> Evaluation | None:
    """Fit the features on the weights as stored, write, measure what was written, write the figures."""
    segmenter = Segmenter(trainer.options.model)
    segmenter.net.load_state_dict(trainer.average.state_dict())
    segmenter.half().float().eval().to(trainer.device)  # the stored precision
    batches = torch.split(trainer.slices.x_NCHW, trainer.options.batch)
    segmenter.fit(batches)
    segmenter.fit_novelty(batches, trainer.slices.case_N)
    segmenter.cpu()
    training = _record(trainer)
    checkpoint.save(segmenter, out, recipe, training, {})
    evaluation = None
    if held_out:
        evaluation = measure(out, held_out, trainer.options.threads)
        checkpoint.save(segmenter, out, recipe, training, evaluation.as_json())
    write_whole(out.with_suffix(".md"), card.text(checkpoint.describe(out)).encode())
    write_whole(out.with_suffix(".png"), card.curves_png(trainer.history))
    return evaluation


def measure(weights: Path, pairs: Sequence[Pair], threads: int) -> Evaluation:
    """Score a weights file on these cases by the stages of the stream. Raises CaseError and WeightsError."""
    recipe = checkpoint.describe(weights).recipe
    segment = Segment(SegmentOptions(weights=weights, runtime="torch", threads=threads), "cpu")
    with Preprocess(recipe).open() as prepare, segment.open() as infer:
        return evaluate_cases((read_case(pair) for pair in pairs), prepare, infer)


def recorded(options: TrainOptions) -> dict[str, Any]:
    """The recipe as JSON, without paths of data."""
    kept: dict[str, Any] = TypeAdapter(TrainOptions).dump_python(
        options, mode="json", exclude={"validation", "init"}
    )
    return kept


def _record(trainer: Trainer) -> dict[str, Any]:
    """The training record of the weights file; it holds no path, so that the file can be published."""
    return {
        "options": recorded(trainer.options),
        "init_digest": trainer.init,
        "data_digest": trainer.slices.digest,
        "cases": trainer.slices.cases,
        "slices": len(trainer.slices),
        "epochs": trainer.epoch,
        "seconds": round(trainer.seconds),
        "loss": trainer.loss,
        "device": trainer.device_name,
        "torch": torch.__version__,
    }
