"""Dice plus cross-entropy with deep supervision (Isensee et al. 2021, nnU-Net, arXiv:1809.10486)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # torch's own name for it

from stages.segment.model import Maps

SMOOTH = 1.0  # pixels; keeps the Dice of an empty batch defined


def segmentation_loss(maps: Maps, truth_N1HW: Tensor) -> Tensor:
    """The loss at full resolution plus the coarse heads', each level half the weight of the one above."""
    total = dice_cross_entropy(maps.logit_N1HW, truth_N1HW)
    weight, weights = 1.0, 1.0
    for logit in maps.coarse:
        weight /= 2
        weights += weight
        target = F.avg_pool2d(truth_N1HW, truth_N1HW.shape[-1] // logit.shape[-1])  # soft at the border
        total = total + weight * dice_cross_entropy(logit, target)
    return total / weights


def dice_cross_entropy(logit_N1HW: Tensor, truth_N1HW: Tensor) -> Tensor:
    """Binary cross-entropy plus one minus soft Dice, Dice pooled over the batch.

    Pooled, not per slice: slices without the structure have no Dice of their own.
    """
    probability = logit_N1HW.sigmoid()
    overlap = (probability * truth_N1HW).sum()
    total = probability.sum() + truth_N1HW.sum()
    dice = (2 * overlap + SMOOTH) / (total + SMOOTH)
    return F.binary_cross_entropy_with_logits(logit_N1HW, truth_N1HW) + 1 - dice
