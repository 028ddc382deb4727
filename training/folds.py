"""Cross-validation: every labelled patient is measured by a model that never saw it.

Folds divide patients, are drawn once from the seed, and differ in size by one at most. Each fold leaves a
weights file with its own scores: an interrupted run continues with its unfinished fold.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.pairs import CaseError, Pair, find_pairs
from evaluation.scoring import CaseScore, Evaluation
from stages.errors import OperatorError
from stages.segment import checkpoint
from training.dataset import joined, read_labelled
from training.train import Progress, TrainJob, fit, recorded
from training.trainer import INERT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from stages.preprocess.options import PreprocessOptions
    from training.options import TrainOptions


def assign(names: Sequence[str], folds: int, seed: int) -> dict[str, int]:
    """The fold of every patient, 0 .. folds - 1; depends on the names, not on their order."""
    order = np.random.default_rng(seed).permutation(len(names))
    by_name = sorted(names)
    return {by_name[row]: place % folds for place, row in enumerate(order)}


def crossvalidate(
    data: Sequence[Path],
    out: Path,
    options: TrainOptions,
    folds: int,
    *,
    resume: bool,
    progress: Callable[[int, Progress], None],
    preprocess: PreprocessOptions,
    device: str,
) -> dict[str, Any]:
    """Train and measure every fold in the folder ``out``; the document of out-of-fold scores.

    ``resume`` keeps finished folds and continues the unfinished one. Raises CaseError, and OperatorError
    where files in ``out`` belong to other data or options.
    """
    pairs = _pairs(data)
    if folds > len(pairs):
        raise CaseError(f"{len(pairs)} patients cannot be parted into {folds} folds")
    fold_of = assign([pair.name for pair in pairs], folds, options.seed)
    labelled = list(read_labelled(pairs, preprocess))
    options = replace(options, validation=None)
    scores: list[tuple[int, CaseScore]] = []
    for fold in range(folds):
        weights = out / f"fold-{fold}.safetensors"
        slices = joined(case for case in labelled if fold_of[case.name] != fold)
        if not (resume and _finished(weights, options, slices.digest, preprocess)):
            job = TrainJob(
                out=weights,
                options=options,
                preprocess=preprocess,
                device=device,
                progress=lambda one, fold=fold: progress(fold, one),  # type: ignore[misc]  # bound now
                resume=resume and weights.with_suffix(".pt").is_file(),
            )
            fit(slices, [pair for pair in pairs if fold_of[pair.name] == fold], job)
        scores.extend((fold, CaseScore(**case)) for case in checkpoint.describe(weights).metrics["cases"])
    return document(scores, options, folds, joined(labelled).digest)


def document(
    scores: Sequence[tuple[int, CaseScore]], options: TrainOptions, folds: int, digest: str
) -> dict[str, Any]:
    """Out-of-fold scores of all patients, in the form of ``evaluate --json`` without the pooled figures."""
    evaluation = Evaluation(tuple(score for _, score in scores), 0.0)
    return {
        "folds": folds,
        "data_digest": digest,
        "options": recorded(options),
        "cases": [{**asdict(score), "fold": fold} for fold, score in scores],
        "mean": evaluation.mean,
        "interval_95": evaluation.interval_95,
    }


def _pairs(data: Sequence[Path]) -> list[Pair]:
    """The cases of all folders. Raises CaseError where a name occurs twice: it may be one patient."""
    found: dict[str, Pair] = {}
    for pair in (pair for folder in data for pair in find_pairs(folder)):
        if pair.name in found:
            raise CaseError(f"{found[pair.name].image} and {pair.image} have one name: rename one of them")
        found[pair.name] = pair
    return [found[name] for name in sorted(found)]


def _finished(weights: Path, options: TrainOptions, data_digest: str, recipe: PreprocessOptions) -> bool:
    """Whether a fold's file holds its scores. Raises OperatorError for other data or options."""
    if not weights.is_file():
        return False
    info = checkpoint.describe(weights)
    found, wanted = (
        {name: value for name, value in options.items() if name not in INERT}
        for options in (info.training["options"], recorded(options))
    )
    if (found, info.training["data_digest"], info.recipe) != (wanted, data_digest, recipe):
        raise OperatorError(f"{weights} was trained on other data or options: choose another --out")
    return bool(info.metrics)
