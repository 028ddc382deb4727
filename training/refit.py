"""Adds to a weights file what its training slices alone can tell, without training again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from stages.errors import OperatorError
from stages.segment import checkpoint
from training.dataset import read_slices

if TYPE_CHECKING:
    from pathlib import Path

BATCH = 16  # slices per pass


@dataclass(frozen=True, slots=True)
class Refitted:
    """What was written; network, features, record and figures are the old file's."""

    weights: Path
    digest: str
    slices: int
    novel: int  # training slices that are out of the distribution of the other patients


def refit(weights: Path | None, data: Path, out: Path) -> Refitted:
    """Fit novelty on the cases a weights file was trained on; the new file.

    Raises OperatorError for other cases, since the limit would then be of other images, and WeightsError for
    another name than .safetensors.
    """
    checkpoint.refuse_other_suffix(out)
    segmenter, info = checkpoint.load(weights)
    slices = read_slices(data, info.recipe)
    if slices.digest != info.training.get("data_digest"):
        raise OperatorError(f"{data} does not hold the cases that {info.path} was trained on")
    torch.set_num_threads(1)
    novel = segmenter.fit_novelty(torch.split(slices.x_NCHW, BATCH), slices.case_N)
    if not segmenter.novelty.fitted:
        raise OperatorError(f"{data} holds one patient: there is no other to compare its slices with")
    checkpoint.save(segmenter, out, info.recipe, info.training, info.metrics)
    return Refitted(out, checkpoint.describe(out).digest, len(slices), novel)
