"""The progress of every training of the queue, in files that can be read while it works."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

from stages.files import write_whole
from training.plan import Training

FILE = "standing.json"
HEADS = ("training", "state", "epochs", "hours", "core hours", "loss", "Dice", "slices/s", "ETA h")
State = Literal["waiting", "training", "measuring", "stopped", "finished", "failed"]


@validated
class Standing:
    """The progress of one training; a field that is not known yet is None."""

    name: str
    epochs: int
    """That the schedule has."""
    state: State = "waiting"
    epoch: int = 0
    fraction: float = 0.0
    """Of the schedule."""
    wall_s: float = 0.0
    """Of learning, over all runs of the queue."""
    core_s: float = 0.0
    """Of the processor, over all runs of the queue."""
    loss: float | None = None
    """Of the last whole epoch."""
    field_dice: float | None = None
    """Pooled over the patients left out, on the model's field, at the last look; not the report's."""
    dice_volume: float | None = None
    """Mean over the patients left out, by the stages of the stream; of a finished fold."""
    slices_per_s: float | None = None
    """Learned from, by the clock, since the queue took the training up."""
    slices_per_core_s: float | None = None
    """The same by time of the processor."""
    reason: str | None = None
    """Why it failed."""

    @property
    def eta_s(self) -> float | None:
        """Seconds to go at the pace so far."""
        if self.state == "finished" or not self.fraction:
            return None
        return self.wall_s * (1 - self.fraction) / self.fraction

    def write(self, folder: Path) -> None:
        """Replace the training's file."""
        write_whole(folder / FILE, TypeAdapter(Standing).dump_json(self, indent=2))

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "eta_s": self.eta_s}

    def row(self) -> tuple[str, ...]:
        """The cells of the row under HEADS."""
        dice = self.dice_volume if self.dice_volume is not None else self.field_dice
        eta_s = self.eta_s
        return (
            self.name,
            self.state,
            f"{self.epoch}/{self.epochs}",
            f"{self.wall_s / 3600:.2f}",
            f"{self.core_s / 3600:.2f}",
            "" if self.loss is None else f"{self.loss:.4f}",
            "" if dice is None else f"{dice:.4f}",
            "" if self.slices_per_s is None else f"{self.slices_per_s:.1f}",
            "" if eta_s is None else f"{eta_s / 3600:.2f}",
        )


def read_standing(training: Training, folder: Path) -> Standing:
    """The standing in the training's file; a training without one is waiting."""
    try:
        found = TypeAdapter(Standing).validate_json((folder / FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return Standing(training.name, training.options.epochs)
    found.epochs = training.options.epochs
    return found


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns under HEADS, the first two to the left."""
    lines = [HEADS, *rows]
    width = [max(len(line[at]) for line in lines) for at in range(len(HEADS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width[at]) if at < 2 else cell.rjust(width[at])  # noqa: PLR2004  # words, then figures
            for at, cell in enumerate(line)
        ).rstrip()
        for line in lines
    )


class Meter:
    """Counts processed slices, with wall time and processor time since its creation."""

    def __init__(self) -> None:
        self._start = time.monotonic(), time.process_time()
        self._slices = 0

    def count(self, slices: int) -> None:
        """Add to the number of slices."""
        self._slices += slices

    @property
    def core_s(self) -> float:
        """Processor time."""
        return time.process_time() - self._start[1]

    @property
    def per_s(self) -> float:
        """Slices per second of wall time."""
        return self._slices / max(time.monotonic() - self._start[0], 1e-9)

    @property
    def per_core_s(self) -> float:
        """Slices per second of processor time."""
        return self._slices / max(self.core_s, 1e-9)
