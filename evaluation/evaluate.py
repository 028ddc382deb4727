"""Evaluation: labelled cases through the same stages that ``run`` uses, in this process.

No keys are needed: nothing is sealed, delivered or indexed. A slice that a stage rejects counts as empty.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evaluation.cases import Case, read_case
from evaluation.dice import VolumeMask
from evaluation.pairs import find_pairs
from evaluation.scoring import CaseScore, Evaluation, evaluate_cases
from stages.ingest.options import IngestOptions
from stages.preprocess.options import PreprocessOptions
from stages.preprocess.stage import Preprocess
from stages.segment.checkpoint import describe
from stages.segment.options import SegmentOptions
from stages.segment.stage import Segment


def evaluate(
    source: Path,
    ingest: IngestOptions,
    preprocess: PreprocessOptions,
    segment: SegmentOptions,
    device: str,
    progress: Callable[[str], None] | None = None,
    keep: Callable[[Case, CaseScore, VolumeMask], None] | None = None,
) -> Evaluation:
    """Score every case of ``source``; ``progress`` receives names, ``keep`` each case with its mask.

    Raises CaseError for an incomplete pair, an unreadable file or two grids, and WeightsError.
    """
    describe(segment.weights).refuse_other_recipe(preprocess)
    cases = (read_case(pair, ingest) for pair in find_pairs(source))
    with Preprocess(preprocess).open() as prepare, Segment(segment, device).open() as infer:
        return evaluate_cases(cases, prepare, infer, progress, keep, largest=segment.largest_component)
