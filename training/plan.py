"""The trainings of the queue in their order: ``queue.toml``, checked."""

from __future__ import annotations

from dataclasses import field, replace
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, MinLen
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated

from stages.errors import OperatorError
from training.declared import read_toml
from training.options import TrainOptions

PLAN = Path(__file__).with_name("queue.toml")
# The queue sets these itself, or they would tie the result to the clock.
RESERVED = ("init", "validation", "minutes", "threads", "model")


class PlanError(OperatorError):
    """A training that the list or the splits do not have; one sentence."""


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class Training:
    """One training."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    """Of its folder and its files."""
    attention: bool
    """The arm: with channel attention, or plain."""
    fold: Annotated[int, Ge(0)] | None = None
    """Learns from the other folds and is measured on this one; without, it learns from all."""
    warm: bool = False
    """Starts from the shipped weights, not from random ones."""
    options: TrainOptions = field(default_factory=TrainOptions)
    """The recipe, where it differs from the defaults."""

    def __post_init__(self) -> None:
        """Refuse options that would flatter a figure, and options that the queue sets itself."""
        if self.fold is not None and self.warm:
            raise ValueError(f"{self.name}: the shipped weights have learned from patients of every fold")
        default = TrainOptions()
        for name in RESERVED:
            if getattr(self.options, name) != getattr(default, name):
                raise ValueError(f"{self.name}: the queue does not take {name} among the options")

    def recipe(self, shipped: Path, threads: int) -> TrainOptions:
        """All options of the training."""
        model = replace(self.options.model, attention=self.attention)
        return replace(self.options, model=model, init=shipped if self.warm else None, threads=threads)


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class Plan:
    """All trainings, the first one first."""

    trainings: Annotated[tuple[Training, ...], MinLen(1)]

    def __post_init__(self) -> None:
        """Refuse two trainings of one name: they would share a folder."""
        names = [one.name for one in self.trainings]
        if len(set(names)) < len(names):
            raise ValueError("two trainings have one name")

    def named(self, name: str) -> Training:
        """The training of this name. Raises PlanError."""
        for one in self.trainings:
            if one.name == name:
                return one
        raise PlanError(f"no training is named {name}: {', '.join(one.name for one in self.trainings)}")

    def refuse_other_folds(self, folds: int) -> None:
        """Raise PlanError for a fold that the splits do not have."""
        for one in self.trainings:
            if one.fold is not None and one.fold >= folds:
                raise PlanError(f"{one.name}: fold {one.fold} is none of the {folds} that the splits have")


def read_plan(path: Path = PLAN) -> Plan:
    """The list in a file. Raises OperatorError."""
    return read_toml(path, Plan)
