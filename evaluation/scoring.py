"""Masks against references, case by case, in the form that ``evaluate --json`` prints.

The main figure is the mean over patients of the Dice of the whole volume. Its interval is over patients too:
slices of one patient are not independent observations.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation import dice as metrics
from evaluation.intervals import Interval, mean_interval
from stages.components import mended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from evaluation.cases import Case
    from stages.base import Split
    from stages.batches import Frames, Prepared, Segmented


@dataclass(frozen=True, slots=True)
class CaseScore:
    """One patient.

    A distance is None where exactly one of mask and reference is empty; distances and volumes are None
    for a picture, which has no spacing.
    """

    name: str
    dice_volume: float
    dice_slices: float
    hd95_mm: float | None
    asd_mm: float | None
    volume_ml: float | None
    volume_true_ml: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All patients of a folder."""

    cases: tuple[CaseScore, ...]
    pooled_dice: float

    @property
    def mean(self) -> dict[str, float | None]:
        """The mean over patients of every figure; over those that have it."""
        return {name: _mean(values) for name, values in self._columns().items()}

    @property
    def interval_95(self) -> dict[str, Interval | None]:
        """The bootstrap interval of every mean; None where fewer than two patients have the figure."""
        return {name: mean_interval(values) for name, values in self._columns().items()}

    def _columns(self) -> dict[str, list[float]]:
        names = [name for name in CaseScore.__slots__ if name != "name"]
        values = {name: [getattr(case, name) for case in self.cases] for name in names}
        return {name: [v for v in column if v is not None] for name, column in values.items()}

    def as_json(self) -> dict[str, Any]:
        """Plain data, one document."""
        cases = [asdict(case) for case in self.cases]
        return {
            "cases": cases,
            "mean": self.mean,
            "interval_95": self.interval_95,
            "pooled_dice": self.pooled_dice,
        }


def predict(
    case: Case,
    preprocess: Callable[[Frames], Split[Prepared]],
    segment: Callable[[Prepared], Split[Segmented]],
    *,
    largest: bool = True,
) -> metrics.VolumeMask:
    """The case's mask as delivery mends it, [S, H, W]; a slice that a stage rejects counts as empty."""
    mask_SHW = np.zeros(case.truth_SHW.shape, np.bool_)
    number = {key: i for i, key in enumerate(case.frames.rows.keys)}
    segmented = segment(preprocess(case.frames).kept).kept
    for key, mask in zip(segmented.rows.keys, segmented.masks, strict=True):
        mask_SHW[number[key]] = mask.unpack()
    return np.stack([mask_HW for mask_HW, _ in mended(len(mask_SHW), mask_SHW.__getitem__, largest=largest)])


def score(case: Case, mask_SHW: metrics.VolumeMask) -> CaseScore:
    """Every figure for one patient."""
    truth_SHW, spacing_mm = case.truth_SHW, case.spacing_mm
    return CaseScore(
        case.name,
        metrics.dice(mask_SHW, truth_SHW),
        metrics.dice_slices(mask_SHW, truth_SHW),
        metrics.hd95_mm(mask_SHW, truth_SHW, spacing_mm) if spacing_mm else None,
        metrics.asd_mm(mask_SHW, truth_SHW, spacing_mm) if spacing_mm else None,
        metrics.volume_ml(mask_SHW, spacing_mm) if spacing_mm else None,
        metrics.volume_ml(truth_SHW, spacing_mm) if spacing_mm else None,
    )


def evaluate_cases(
    cases: Iterable[Case],
    preprocess: Callable[[Frames], Split[Prepared]],
    segment: Callable[[Prepared], Split[Segmented]],
    progress: Callable[[str], None] | None = None,
    keep: Callable[[Case, CaseScore, metrics.VolumeMask], None] | None = None,
    *,
    largest: bool = True,
) -> Evaluation:
    """Predict and score every case; ``keep`` receives each with its mask, ``progress`` its name.

    ``largest`` is ``SegmentOptions.largest_component``.
    """
    scores, pairs = [], []
    for case in cases:
        mask_SHW = predict(case, preprocess, segment, largest=largest)
        scores.append(score(case, mask_SHW))
        if keep is not None:
            keep(case, scores[-1], mask_SHW)
        pairs.append((mask_SHW, case.truth_SHW))
        if progress is not None:
            progress(case.name)
    return Evaluation(tuple(scores), metrics.pooled_dice(pairs))


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
