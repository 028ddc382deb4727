from __future__ import annotations

import math

import pytest
import torch

from stages.segment.model import Maps
from training.loss import dice_cross_entropy, segmentation_loss


def test_undecided_network_by_hand() -> None:
    """At p = 1/2 everywhere and half the pixels inside, cross-entropy is ln 2 and Dice (2*8+1)/(16+16+1)."""
    truth = torch.zeros(1, 1, 4, 8)
    truth[..., :4] = 1
    expected = math.log(2) + 1 - (2 * 8 + 1) / (16 + 16 + 1)
    assert float(dice_cross_entropy(torch.zeros_like(truth), truth)) == pytest.approx(expected)


def test_right_and_certain_costs_nothing() -> None:
    """The loss of the truth itself is zero, also where nothing is inside."""
    for truth in (torch.zeros(2, 1, 8, 8), torch.eye(8).expand(2, 1, 8, 8)):
        assert float(dice_cross_entropy(100 * (2 * truth - 1), truth)) == pytest.approx(0, abs=1e-5)


def test_coarse_levels_weigh_half_each() -> None:
    """A wrong coarse level costs a third of the whole when there are two levels."""
    truth = torch.zeros(1, 1, 8, 8)
    right = torch.full_like(truth, -100)
    wrong = torch.zeros(1, 1, 2, 2)
    deep = torch.zeros(1)
    loss = float(segmentation_loss(Maps(right, (wrong,), deep, deep), truth))
    assert loss == pytest.approx(float(dice_cross_entropy(wrong, torch.zeros_like(wrong))) / 3, rel=1e-4)
