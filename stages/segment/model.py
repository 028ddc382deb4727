"""Residual U-Net with channel attention: 2.5-D slices in, one logit per pixel out.

After U-Net (Ronneberger et al. 2015, arXiv:1505.04597), residual blocks (He et al. 2016,
arXiv:1512.03385), squeeze-excitation (Hu et al. 2018, arXiv:1709.01507) with the hard sigmoid of
MobileNetV3 (arXiv:1905.02244), sub-pixel upsampling (Shi et al. 2016, arXiv:1609.05158).

Suffixes: N slices, C channels, H and W field pixels; /2 means at half the field's resolution.
BatchNorm, not GroupNorm: its statistics are constants at inference, so it folds into the
convolution before it and costs nothing there; batches of 8 slices are enough to estimate them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # torch's own name for it
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stages.segment.options import ModelConfig


class ConvNorm(nn.Module):
    """Convolution and its normalisation, foldable into one at inference."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """[N, c_in, H, W] to [N, c_out, H/stride, W/stride]."""
        return self.norm(self.conv(x))  # type: ignore[no-any-return]  # modules are untyped callables

    def fold(self) -> None:
        """Absorb the frozen statistics into the convolution."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class SqueezeExcite(nn.Module):
    """Each channel is scaled by what the whole slice says about it."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // reduction, 1)
        self.excite = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        gate = F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))  # [N, C/r, 1, 1]
        return x * F.hardsigmoid(self.excite(gate))  # [N, C, 1, 1] over H and W


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut; the first may halve the resolution."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1, *, attention: bool) -> None:
        super().__init__()
        self.first = ConvNorm(c_in, c_out, stride=stride)
        self.second = ConvNorm(c_out, c_out)
        self.attend = SqueezeExcite(c_out) if attention else nn.Identity()
        same = c_in == c_out and stride == 1
        self.shortcut = nn.Identity() if same else ConvNorm(c_in, c_out, kernel=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """[N, c_in, H, W] to [N, c_out, H/stride, W/stride]."""
        y = self.attend(self.second(F.relu(self.first(x))))
        return F.relu(y + self.shortcut(x))


class Up(nn.Module):
    """Double the resolution by pixel shuffle, join the encoder's map."""

    def __init__(self, c_in: int, c_skip: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(c_in, 4 * c_skip, 1)
        self.merge = ConvNorm(2 * c_skip, c_skip)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """[N, c_in, H/2, W/2] and [N, c_skip, H, W] to [N, c_skip, H, W]."""
        up = F.pixel_shuffle(self.expand(x), 2)  # [N, c_skip, H, W]
        return F.relu(self.merge(torch.cat((up, skip), 1)))


class Maps(NamedTuple):
    """What one pass gives: logits for the loss, activations for the features."""

    logit_N1HW: Tensor
    coarse: tuple[Tensor, ...]  # training only: logits at /4, /8 ..., finest first
    deep: Tensor  # the bottleneck, [N, channels[-1], H/stride, W/stride]
    decoded: Tensor  # the decoder at /4, [N, channels[1], H/4, W/4]


class AttentionUNet(nn.Module):
    """The network. Input [N, in_channels, H, W], z-scored, H and W multiples of ``config.stride``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.channels
        self.stem = ConvNorm(4 * config.in_channels, widths[0])
        self.encoder = nn.ModuleList()
        c_in = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, config.blocks, strict=True)):
            first = ResidualBlock(c_in, width, stride=2 if stage else 1, attention=config.attention)
            rest = (ResidualBlock(width, width, attention=config.attention) for _ in range(depth - 1))
            self.encoder.append(nn.Sequential(first, *rest))
            c_in = width
        self.decoder = nn.ModuleList(
            Up(widths[i + 1], widths[i]) for i in reversed(range(len(widths) - 1))
        )  # coarsest first
        self.head = nn.Conv2d(widths[0], 4, 3, padding=1)
        self.coarse_heads = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in widths[1:-1])

    def forward(self, x: Tensor) -> Maps:
        """[N, C, H, W] to logits on the same grid, and the activations the features are made of."""
        y = F.relu(self.stem(F.pixel_unshuffle(x, 2)))  # [N, 4C, H/2, W/2] to [N, channels[0], H/2, W/2]
        skips: list[Tensor] = []
        for stage in self.encoder:
            y = stage(y)  # stage s: [N, channels[s], H/2^(s+1), W/2^(s+1)]
            skips.append(y)
        deep = skips.pop()
        decoded = [deep]
        for up in self.decoder:
            y = up(y, skips.pop())  # ends at [N, channels[0], H/2, W/2]
            decoded.append(y)
        logit_N1HW = F.pixel_shuffle(self.head(y), 2)  # [N, 4, H/2, W/2] to [N, 1, H, W]
        middle = decoded[-2:0:-1]  # between bottleneck and last, finest first
        coarse = (
            tuple(head(z) for head, z in zip(self.coarse_heads, middle, strict=True)) if self.training else ()
        )
        return Maps(logit_N1HW, coarse, deep, decoded[-2])


def fold_norms(net: nn.Module) -> None:
    """Fold every normalisation of an evaluation-mode network into its convolution, in place."""
    for module in net.modules():
        if isinstance(module, ConvNorm):
            module.fold()
