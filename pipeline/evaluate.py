"""Evaluation: labelled cases through the very stages that ``run`` uses, in this process.

No keys are needed: nothing is sealed, delivered or indexed. A slice that a stage rejects counts as empty.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stages.ingest.options import IngestOptions
from stages.preprocess.stage import Preprocess, PreprocessOptions
from stages.segment.cases import Case, CaseError, find_pairs, read_case
from stages.segment.checkpoint import describe
from stages.segment.metrics import Volume
from stages.segment.scoring import CaseScore, Evaluation, evaluate_cases
from stages.segment.stage import Segment, SegmentOptions

__all__ = ["CaseError", "CaseScore", "Evaluation", "evaluate"]


def evaluate(
    source: Path,
    ingest: IngestOptions,
    preprocess: PreprocessOptions,
    segment: SegmentOptions,
    device: str,
    progress: Callable[[str], None] | None = None,
    keep: Callable[[Case, CaseScore, Volume], None] | None = None,
) -> Evaluation:
    """Score every case of ``source``; ``progress`` gets names, ``keep`` each case with its mask.

    Raises CaseError for a half pair, an unreadable file or two grids, and WeightsError.
    """
    describe(segment.weights).refuse_other_recipe(preprocess)
    cases = (read_case(pair, ingest) for pair in find_pairs(source))
    with Preprocess(preprocess).open() as prepare, Segment(segment, device).open() as infer:
        return evaluate_cases(cases, prepare, infer, progress, keep)
