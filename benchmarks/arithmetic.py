"""What the shipped model computes for a slice, counted."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from stages.segment import checkpoint


def gmac_per_frame() -> float:
    """1e9 multiply-adds of its convolutions and products."""
    segmenter, info = checkpoint.load()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        segmenter(torch.zeros(1, info.model.in_channels, info.recipe.size, info.recipe.size))
    return counter.get_total_flops() / 2e9
