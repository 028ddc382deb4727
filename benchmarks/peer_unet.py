"""The peer of the segmentation tables: the attention-gate U-Net, this product's first model.

Oktay et al. 2018 (arXiv:1804.03999): five levels, 64 channels at the top, on the 256 x 256 image itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # torch's own name for it


class AttentionGateUNet(nn.Module):
    """The peer: five levels of double convolutions, additive attention gates on the skips."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.down = nn.ModuleList(double(a, b) for a, b in zip([1, *widths], widths, strict=False))
        steps = list(zip(widths[:0:-1], widths[-2::-1], strict=True))  # (1024, 512) ... (128, 64)
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in steps)
        self.gate_of_skip = nn.ModuleList(nn.Conv2d(b, b // 2, 1) for _, b in steps)
        self.gate_of_up = nn.ModuleList(nn.Conv2d(b, b // 2, 1) for _, b in steps)
        self.gate = nn.ModuleList(nn.Conv2d(b // 2, 1, 1) for _, b in steps)
        self.merge = nn.ModuleList(double(2 * b, b) for _, b in steps)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, H, W] to logits of the same shape."""
        skips = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        parts = zip(self.up, self.gate_of_skip, self.gate_of_up, self.gate, self.merge, strict=True)
        for up, of_skip, of_up, gate, merge in parts:
            x, skip = up(x), skips.pop()
            x = merge(torch.cat((x, skip * torch.sigmoid(gate(F.relu(of_skip(skip) + of_up(x))))), 1))
        return self.head(x)


def double(c_in: int, c_out: int) -> nn.Sequential:
    """Two normalised 3 x 3 convolutions."""
    first = (nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU())
    return nn.Sequential(*first, nn.Conv2d(c_out, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU())
