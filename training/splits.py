"""Which patients train a model and which only measure it: ``splits.toml``, checked.

No patient is on two sides, patients of one group stay on one side, no committed weights learn from labels
that an AI made, and only labels of training patients are softened.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import MinLen
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from evaluation.pairs import Pair, find_pairs
from stages.errors import OperatorError
from training.declared import read_toml

SPLITS = Path(__file__).with_name("splits.toml")
Names = tuple[Annotated[str, MinLen(1)], ...]


class SplitsError(OperatorError):
    """Splits that do not fit the folders; one sentence that names the patients."""


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class CaseSet:
    """Patients of one folder whose labels are of one kind."""

    folder: Annotated[str, MinLen(1)]
    labels: Literal["expert", "AI"]
    licence: Annotated[str, MinLen(1)]
    worth: Annotated[str, MinLen(1)]
    """What the labels are good for, in words."""
    folds: tuple[Names, ...] = ()
    """Learned from, in parts."""
    held_out: Names = ()
    """Never learned from."""
    uncommitted: Names = ()
    """Never learned from by weights that are committed."""

    @property
    def sides(self) -> dict[str, Names]:
        """The patients' names by side."""
        parts = {f"fold {number}": names for number, names in enumerate(self.folds)}
        return {**parts, "held_out": self.held_out, "uncommitted": self.uncommitted}


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class Splits:
    """All sets."""

    sets: Annotated[tuple[CaseSet, ...], MinLen(1)]
    together: tuple[Names, ...] = ()
    """Groups of names that are on one side of every split."""
    soft_labels: Names = ()
    """Learned patients of whom a second reading exists."""

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        placed = [(name, side) for one in self.sets for side, names in one.sides.items() for name in names]
        twice = sorted(name for name, count in Counter(name for name, _ in placed).items() if count > 1)
        if twice:
            raise ValueError(f"{', '.join(twice)}: named more than once")
        side_of = dict(placed)
        for group in self.together:
            if len({side_of.get(name) for name in group}) > 1 or group[0] not in side_of:
                raise ValueError(f"{', '.join(group)}: must be on one side of every split")
        learned = {name for name, side in placed if side.startswith("fold")}
        if unlearned := sorted(set(self.soft_labels) - learned):
            raise ValueError(f"{', '.join(unlearned)}: labels are softened only where they are learned from")
        if any(one.labels == "AI" and (one.folds or one.held_out) for one in self.sets):
            raise ValueError("labels made by an AI are not used for training or evaluation")
        if len({len(one.folds) for one in self.sets if one.folds}) != 1:
            raise ValueError("the sets that are learned from need the same number of folds")

    @property
    def folds(self) -> int:
        """The number of parts that the training patients are divided into."""
        return max(len(one.folds) for one in self.sets)

    def check(self, data: Path) -> None:
        """Compare with the folders below ``data``. Raises SplitsError, and CaseError for a half pair."""
        for folder in sorted({one.folder for one in self.sets}):
            here = [one for one in self.sets if one.folder == folder]
            named = {name for one in here for names in one.sides.values() for name in names}
            found = {pair.name for pair in find_pairs(data / folder)}
            if missing := sorted(named - found):
                raise SplitsError(f"{data / folder} lacks {', '.join(missing)}, which the splits name")
            if unnamed := sorted(found - named):
                raise SplitsError(f"the splits do not name {', '.join(unnamed)} of {data / folder}")

    def learned(self, data: Path, without: int | None) -> tuple[Pair, ...]:
        """The patients that a model learns from: all parts but one, or all."""
        parts = {f"fold {number}" for number in range(self.folds) if number != without}
        return tuple(pair for pairs in self._pairs(data, parts).values() for pair in pairs)

    def out_of_fold(self, data: Path, fold: int) -> tuple[Pair, ...]:
        """The patients of one part."""
        return tuple(pair for pairs in self._pairs(data, {f"fold {fold}"}).values() for pair in pairs)

    def held_out(self, data: Path) -> dict[str, tuple[Pair, ...]]:
        """By folder, the patients that no model learns from."""
        return self._pairs(data, {"held_out"})

    def _pairs(self, data: Path, sides: set[str]) -> dict[str, tuple[Pair, ...]]:
        found: dict[str, tuple[Pair, ...]] = {}
        for one in self.sets:
            names = {name for side, names in one.sides.items() if side in sides for name in names}
            if names:
                pairs = tuple(pair for pair in find_pairs(data / one.folder) if pair.name in names)
                found[one.folder] = found.get(one.folder, ()) + pairs
        return found


def read_splits(path: Path = SPLITS) -> Splits:
    """The splits of a file. Raises OperatorError."""
    return read_toml(path, Splits)
