"""Adds statistics of the training slices to a weights file, without training again."""

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
    """The new file; network, features, training record and figures are those of the old one."""

    weights: Path
    digest: str
    slices: int
    novel: int  # training slices that are out of the distribution of the other patients


def refit(weights: Path | None, data: Path, out: Path) -> Refitted:
    """Fit novelty on the cases that the weights learned from; returns the new file.

    Raises OperatorError for other cases, since the limit would describe other images, and WeightsError for a
    name that does not end in .safetensors.
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
