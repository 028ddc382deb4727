"""OpenCV's contrast-limited adaptive histogram equalisation of bytes, for many images at once in torch.

Equal to ``cv2.createCLAHE(clip_limit, (tiles, tiles)).apply`` (imgproc/src/clahe.cpp), image by image: a
look-up table for each tile, and bilinear interpolation between the tables of the four nearest tiles.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

BINS = 256


def equalise_together(levels_NHW: Tensor, clip_limit: float, tiles: int) -> Tensor:
    """Bytes [N, H, W] to bytes, on the device where they are."""
    height, width = levels_NHW.shape[1:]
    tile_NTTHW = _tiled(levels_NHW, tiles)
    table_NT256 = _tables(tile_NTTHW.flatten(3).flatten(1, 2), clip_limit)
    above_H, below_H, lower_H = _between(height, tile_NTTHW.shape[3], tiles, levels_NHW.device)
    left_W, right_W, further_W = _between(width, tile_NTTHW.shape[4], tiles, levels_NHW.device)
    flat_NHW = levels_NHW.long()

    def looked_up(row_H: Tensor, column_W: Tensor) -> Tensor:
        tile_HW = row_H[:, None] * tiles + column_W
        places = (tile_HW * BINS + flat_NHW).flatten(1)
        return table_NT256.flatten(1).gather(1, places).view(levels_NHW.shape)

    upper = looked_up(above_H, left_W) * (1 - further_W) + looked_up(above_H, right_W) * further_W
    lower = looked_up(below_H, left_W) * (1 - further_W) + looked_up(below_H, right_W) * further_W
    mixed = upper * (1 - lower_H[:, None]) + lower * lower_H[:, None]
    return mixed.round().clamp(0, BINS - 1).to(torch.uint8)


def _tiled(levels_NHW: Tensor, tiles: int) -> Tensor:
    """Each tile [N, tiles, tiles, h, w]; where tiles do not fit, the image is mirrored at its lower ends.

    OpenCV then extends both axes, also one that needs no more.
    """
    height, width = levels_NHW.shape[1:]
    if height % tiles or width % tiles:
        down, right = tiles - height % tiles, tiles - width % tiles
        padded = functional.pad(levels_NHW[:, None].float(), (0, right, 0, down), mode="reflect")
        levels_NHW = padded[:, 0].to(torch.uint8)
        height, width = levels_NHW.shape[1:]
    split = levels_NHW.reshape(-1, tiles, height // tiles, tiles, width // tiles)
    return split.transpose(2, 3)


def _tables(tile_NTP: Tensor, clip_limit: float) -> Tensor:
    """The look-up table of each tile, float32 [N, T, 256] of whole numbers."""
    pixels = tile_NTP.shape[2]
    count_NT256 = torch.zeros((*tile_NTP.shape[:2], BINS), dtype=torch.int64, device=tile_NTP.device)
    count_NT256.scatter_add_(2, tile_NTP.long(), torch.ones_like(tile_NTP, dtype=torch.int64))
    most = max(int(clip_limit * pixels / BINS), 1)
    clipped_NT1 = (count_NT256 - most).clamp(min=0).sum(2, keepdim=True)
    count_NT256 = count_NT256.clamp(max=most) + clipped_NT1 // BINS
    # What is left of the clipped pixels goes, one each, to bins at even steps from the first.
    left_NT1 = clipped_NT1 % BINS
    step_NT1 = (BINS // left_NT1.clamp(min=1)).clamp(min=1)
    bin_256 = torch.arange(BINS, device=tile_NTP.device)
    count_NT256 += (bin_256 % step_NT1 == 0) & (bin_256 // step_NT1 < left_NT1)
    scale = torch.tensor((BINS - 1) / pixels, dtype=torch.float32, device=tile_NTP.device)
    return (count_NT256.cumsum(2).float() * scale).round().clamp(0, BINS - 1)


def _between(length: int, tile: int, tiles: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each pixel of an axis: the tile before it, the tile after it, and how far it is towards that."""
    inverse = torch.tensor(1 / tile, dtype=torch.float32, device=device)
    at = torch.arange(length, dtype=torch.float32, device=device) * inverse - 0.5
    first = at.floor()
    towards = at - first
    before = first.long().clamp(min=0)
    return before, (first.long() + 1).clamp(max=tiles - 1), towards
