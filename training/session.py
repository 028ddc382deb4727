"""One training of the queue: continued from its saved state until it ends or is stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from evaluation.pairs import Pair
from stages.errors import OperatorError
from stages.files import write_whole
from stages.preprocess.options import PreprocessOptions
from stages.segment import checkpoint
from training.background import Stop, Stopped
from training.dataset import Labelled, joined
from training.plan import Training
from training.splits import Splits
from training.standing import Meter, Standing, State, read_standing
from training.train import finish, measure, recorded
from training.trainer import INERT, Trainer

CHECKPOINT_S = 120.0  # between two saves: a crash loses at most this much work, or one epoch
STATE = "state.pt"
OUT_OF_FOLD = "out-of-fold.json"
HELD_OUT = "held-out.json"


def weights_of(folder: Path) -> Path:
    """The path of a training's weights file."""
    return folder / f"{folder.name}.safetensors"


def is_finished(training: Training, folder: Path) -> bool:
    """Whether the training has written its weights. Raises OperatorError where their recipe differs."""
    if read_standing(training, folder).state != "finished":
        return False
    info = checkpoint.describe(weights_of(folder))
    found, wanted = (
        {name: value for name, value in options.items() if name not in INERT}
        for options in (info.training["options"], recorded(training.recipe(checkpoint.SHIPPED, 1)))
    )
    if found != wanted:
        raise OperatorError(f"{info.path} was trained with other options: give the training another name")
    return True


class Session:
    """A training while the queue works on it."""

    def __init__(
        self,
        training: Training,
        folder: Path,
        cases: dict[str, Labelled],
        left_out: Sequence[Pair],
        threads: int,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(threads)
        self.folder, self.left_out = folder, left_out
        unseen = {pair.name for pair in left_out}
        options = training.recipe(checkpoint.SHIPPED, threads)
        slices = joined(case for name, case in cases.items() if name not in unseen)
        self.trainer = Trainer(slices, options, "cpu", PreprocessOptions())
        self.watched = joined(cases[pair.name] for pair in left_out) if left_out else None
        if (folder / STATE).is_file():
            self.trainer.resume(folder / STATE)
        self.standing = read_standing(training, folder)
        self._earlier_s = self.standing.core_s
        self._meter = Meter()
        self._saved_s = time.monotonic()

    def learn(self, stop: Stop, on_epoch: Callable[[Standing], None]) -> None:
        """Train to the end of the schedule. On a stop, saves every completed step and raises Stopped."""
        trainer = self.trainer
        while trainer.fraction < 1:
            ended = trainer.advance()
            self._meter.count(min(trainer.options.batch, len(trainer.slices)))
            if ended or stop.asked or time.monotonic() - self._saved_s > CHECKPOINT_S:
                self._save()
            if stop.asked:
                raise Stopped
            if ended:
                self._look(stop)
                on_epoch(self.standing)

    def finish(self, stop: Stop) -> None:
        """Write weights, card, curves and figures; the next start repeats a stopped one. Raises Stopped."""
        self.note("measuring")
        with stop.at_once():
            out = weights_of(self.folder)
            evaluation = finish(self.trainer, self.left_out, out, self.trainer.recipe)
        if evaluation is not None:
            self.standing.dice_volume = evaluation.mean["dice_volume"]
            digest = checkpoint.describe(out).digest
            _write(self.folder / OUT_OF_FOLD, {"weights_digest": digest, **evaluation.as_json()})
        self.note("finished")

    def note(self, state: State, reason: str | None = None) -> None:
        """Write how far the training has come."""
        trainer, standing, meter = self.trainer, self.standing, self._meter
        standing.state, standing.reason = state, reason
        standing.epoch, standing.fraction = trainer.epoch, trainer.fraction
        standing.loss = trainer.loss if trainer.epoch else None
        standing.wall_s, standing.core_s = trainer.seconds, self._earlier_s + meter.core_s
        standing.slices_per_s, standing.slices_per_core_s = meter.per_s, meter.per_core_s
        standing.write(self.folder)

    def _look(self, stop: Stop) -> None:
        """Measures the left-out patients at intervals; no choice depends on the figure."""
        if self.watched is None or self.trainer.epoch % self.trainer.options.validation_epochs:
            return
        with stop.at_once():
            self.standing.field_dice = self.trainer.validate(self.watched)
        self._save()

    def _save(self) -> None:
        self.trainer.save(self.folder / STATE)
        self._saved_s = time.monotonic()
        self.note("training")


def measure_held_out(folder: Path, splits: Splits, data: Path, threads: int) -> dict[str, Any]:
    """Measure the patients that no model learns from, once, by folder; the figures lie beside the weights.

    Raises OperatorError for a second measurement, and where there are no weights yet.
    """
    if (folder / HELD_OUT).exists():
        raise OperatorError(f"{folder / HELD_OUT} exists: a candidate is looked at once")
    weights = weights_of(folder)
    digest = checkpoint.describe(weights).digest
    found = {at: measure(weights, pairs, threads).as_json() for at, pairs in splits.held_out(data).items()}
    document = {"weights_digest": digest, "sets": found}
    _write(folder / HELD_OUT, document)
    return document


def _write(path: Path, document: dict[str, Any]) -> None:
    write_whole(path, (json.dumps(document, indent=2) + "\n").encode())
