"""Novelty of a slice: distance to the nearest training slice, between the bottleneck's averages.

Nearest neighbour after scaling each channel to unit deviation (Sun et al. 2022, arXiv:2204.06507). The unit
of distance is its own limit: the distance that SHARE of the training slices stay below when their own patient
is left out. Above 1 a slice is out of distribution; whatever the model says of it, a person should
look. The rows it compares with belong to the weights file; without them the answer is NaN: not known.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SHARE = 0.95  # so one slice in twenty of a new, ordinary patient is flagged
LEAST_DEVIATION = 1e-3  # of a channel, in mean deviations: what never varied says little


class Novelty(nn.Module):
    """``rows`` training slices to compare with; none until it is fitted."""

    mean_C: Tensor
    scale_C: Tensor  # one over the deviation, and over the limit
    rows_MC: Tensor  # scaled

    def __init__(self, channels: int, rows: int = 0) -> None:
        super().__init__()
        self.count = rows  # a plain number: tracing would make a tensor of the buffer's length
        self.register_buffer("mean_C", torch.zeros(channels))
        self.register_buffer("scale_C", torch.ones(channels))
        self.register_buffer("rows_MC", torch.zeros(rows, channels))

    @property
    def fitted(self) -> bool:
        """Whether there is anything to compare with."""
        return self.count > 0

    def forward(self, context_NC: Tensor) -> Tensor:
        """Distance over limit, [N]; NaN where nothing is known."""
        scaled_NC = (context_NC - self.mean_C) * self.scale_C
        if not self.fitted:
            return scaled_NC.sum(1) * math.nan
        # |a - b|^2 in one product; rounding may leave a little below zero
        inner_NM = scaled_NC @ self.rows_MC.T
        squared_NM = (scaled_NC**2).sum(1, keepdim=True) + (self.rows_MC**2).sum(1) - 2 * inner_NM
        return squared_NM.amin(1).clamp_min(0).sqrt()

    @torch.no_grad()
    def fit(self, context_NC: Tensor, case_N: Tensor) -> int:
        """Keep these slices, of which ``case_N`` tells the patient; how many lie over the limit.

        One patient alone gives no limit: nothing is kept.
        """
        rows = context_NC.double()
        deviation_C = rows.std(0)
        deviation_C = deviation_C + LEAST_DEVIATION * deviation_C.mean() + 1e-12
        scaled_NC = (rows - rows.mean(0)) / deviation_C
        distance_NN = torch.cdist(scaled_NC, scaled_NC)
        case_N = case_N.to(distance_NN.device)
        distance_NN[case_N[:, None] == case_N] = math.inf
        nearest_N = distance_NN.amin(1)
        if not bool(torch.isfinite(nearest_N).all()):
            return 0
        limit = torch.quantile(nearest_N, SHARE).clamp_min(1e-6)
        self.mean_C.copy_(rows.mean(0))
        self.scale_C.copy_(1 / (deviation_C * limit))
        # As the file stores them
        self.count = len(rows)
        self.rows_MC = (scaled_NC / limit).half().to(self.mean_C.dtype)
        return int((nearest_N > limit).sum())
