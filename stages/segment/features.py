"""The feature vector of a slice: what search compares, L2-normalised, always finite and non-zero.

Four parts, each of unit length before its weight, then one fixed affine projection that belongs to
the weights (principal components of the training slices, half whitened, after Jegou & Chum 2012, ECCV):

* gland: decoder activations weighted by the predicted probability, averaged in the cells of a grid
  over the field, so that where the gland lies is kept. A floor keeps slices without gland meaningful;
* shape: the same weights without the activations, on a finer grid;
* context: the bottleneck's average, what the slice shows as a whole;
* appearance: the slice itself at low resolution. It alone ignores the neighbouring slices, so an image
  queried on its own is still closest to itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # torch's own name for it

from stages.segment.model import AttentionUNet, fold_norms
from stages.segment.novelty import Novelty
from stages.segment.options import ModelConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

GLAND_GRID = 4  # cells a side for the gland part
SHAPE_GRID = 16  # cells a side for the shape part
APPEARANCE_GRID = 16  # cells a side for the appearance part
FLOOR = 0.1  # weight of a pixel that is certainly not gland; 1 is certainly gland
PART_WEIGHTS = (0.7, 1.0, 0.5, 2.0)  # gland, shape, context, appearance
WHITENING = 0.25  # each component is divided by its variance to this power; 0.5 whitens fully
SHRINK = 0.05  # share of the mean variance added before whitening, so that noise is not amplified


class Descriptor(nn.Module):
    """Pools one pass of the network into raw features and projects them."""

    mean_R: Tensor
    basis_RD: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        gland = config.channels[1] * GLAND_GRID**2
        raw = gland + SHAPE_GRID**2 + config.channels[-1] + APPEARANCE_GRID**2
        self.register_buffer("mean_R", torch.zeros(raw))
        # Until it is fitted, a fixed orthogonal projection.
        start = torch.randn(raw, config.feature_dim, generator=torch.Generator().manual_seed(0))
        self.register_buffer("basis_RD", F.normalize(start, dim=0))

    def raw(self, x_NCHW: Tensor, probability_N1HW: Tensor, deep: Tensor, decoded: Tensor) -> Tensor:
        """The four parts side by side, [N, R], before the projection."""
        weight = FLOOR + (1 - FLOOR) * F.avg_pool2d(probability_N1HW, 4)  # [N, 1, H/4, W/4]
        gland = _cells(decoded * weight, GLAND_GRID)  # [N, C*16]
        shape = _cells(weight, SHAPE_GRID)  # [N, 256]
        context = deep.mean((2, 3))  # [N, C]
        centre = x_NCHW.shape[1] // 2
        appearance = _cells(x_NCHW[:, centre : centre + 1], APPEARANCE_GRID)  # [N, 256]
        parts = (gland, shape, context, appearance)
        return torch.cat([w * F.normalize(part) for w, part in zip(PART_WEIGHTS, parts, strict=True)], 1)

    def forward(self, raw_NR: Tensor) -> Tensor:
        """[N, R] to unit vectors [N, D]."""
        return F.normalize((raw_NR - self.mean_R) @ self.basis_RD)

    @torch.no_grad()
    def fit(self, raw_NR: Tensor) -> None:
        """Set the projection to the half-whitened principal components of these rows.

        With fewer rows than dimensions the components left over are kept at the shrunk scale: they
        are orthogonal directions in which the training slices do not differ, and others may.
        """
        rows = raw_NR.double()
        mean_R = rows.mean(0)
        covariance = torch.cov((rows - mean_R).T)
        value_R, vector_RR = torch.linalg.eigh(covariance)  # ascending
        size = self.basis_RD.shape[1]
        value_D, vector_RD = value_R[-size:].flip(0).clamp_min(0), vector_RR[:, -size:].flip(1)
        scale_D = (value_D + SHRINK * value_D.mean() + 1e-12) ** -WHITENING
        self.mean_R.copy_(mean_R)
        self.basis_RD.copy_(vector_RD * scale_D)


class Segmenter(nn.Module):
    """What is deployed: x [N, C, H, W] to probability [N, H, W], feature [N, D] and novelty [N]."""

    def __init__(self, config: ModelConfig, novelty_rows: int = 0) -> None:
        super().__init__()
        self.net = AttentionUNet(config)
        self.descriptor = Descriptor(config)
        self.novelty = Novelty(config.channels[-1], novelty_rows)

    def forward(self, x_NCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Probability of the structure per pixel; per slice the unit feature vector and the novelty."""
        probability_N1HW, raw_NR, context_NC = self.raw(x_NCHW)
        return probability_N1HW[:, 0], self.descriptor(raw_NR), self.novelty(context_NC)

    def raw(self, x_NCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Probability [N, 1, H, W], features before projection [N, R], bottleneck averages [N, C]."""
        maps = self.net(x_NCHW)
        probability_N1HW = torch.sigmoid(maps.logit_N1HW.float())
        raw_NR = self.descriptor.raw(x_NCHW, probability_N1HW, maps.deep.float(), maps.decoded.float())
        return probability_N1HW, raw_NR, maps.deep.float().mean((2, 3))

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Fit the projection on these inputs; the network must be in evaluation mode."""
        self.descriptor.fit(torch.cat([self.raw(x_NCHW)[1] for x_NCHW in batches]))

    @torch.no_grad()
    def fit_novelty(self, batches: Iterable[Tensor], case_N: Tensor) -> int:
        """Fit what novelty compares with on these inputs, in evaluation mode; how many exceed it."""
        return self.novelty.fit(torch.cat([self.raw(x_NCHW)[2] for x_NCHW in batches]), case_N)

    def frozen(self) -> Segmenter:
        """Itself, for inference only: evaluation mode, normalisation folded."""
        self.eval().requires_grad_(requires_grad=False)
        fold_norms(self.net)
        return self


def _cells(map_NCHW: Tensor, grid: int) -> Tensor:
    """Averages over grid x grid cells, [N, C * grid^2]."""
    return F.adaptive_avg_pool2d(map_NCHW, grid).flatten(1)
