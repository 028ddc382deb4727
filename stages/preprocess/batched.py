"""Many frames to their fields at once, in torch, for a GPU: what ``single.prepare`` gives for each of them.

The CPU's steps are the reference, and differ by rounding alone: here and there a level is its neighbour. The
CPU draws the patient's outline (background.py); square roots travel to it and outlines back, 32 kB a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.batches import Frame
from stages.grid import Grid
from stages.preprocess.background import outline
from stages.preprocess.clahe import equalise_together
from stages.preprocess.contrast import LEVELS
from stages.preprocess.grid import grid_of, inside, view_weights, within_view
from stages.preprocess.intensity import LEAST_DEVIATION, limits
from stages.preprocess.options import PreprocessOptions
from stages.preprocess.single import LEAST_SIDE, PreparedSlice, prepare


class _Scaled(NamedTuple):
    """An image for the device."""

    image_HW: NDArray[np.generic]
    low: float
    high: float


def prepare_together(
    frames: Sequence[Frame], options: PreprocessOptions, device: str
) -> list[PreparedSlice | str]:
    """Each frame as ``prepare`` gives it, those of one grid together on the device.

    The CPU prepares what is rare: floats, integers of more than 16 bits, images that may be rejected, and all
    where the recipe has no levels.
    """
    found: dict[int, PreparedSlice | str] = {}
    alike: dict[Grid, dict[int, _Scaled]] = {}
    for number, frame in enumerate(frames):
        grid = grid_of(frame, options.size, options.spacing_mm)
        scaled = _scaled(frame.image) if options.in_levels and inside(grid, options.size).any() else None
        if scaled is None:
            found[number] = prepare(frame, options)
        else:
            alike.setdefault(grid, {})[number] = scaled
    for grid, images in alike.items():
        together = _prepared(list(images.values()), grid, options, device)
        found |= zip(images, together, strict=True)
    return [found[number] for number in range(len(frames))]


def _scaled(image_HW: NDArray[np.generic]) -> _Scaled | None:
    """The image with its limits; None where it is left to the CPU."""
    narrow = image_HW.dtype.kind in "iu" and image_HW.dtype.itemsize <= 2  # noqa: PLR2004  bytes of 16 bits
    found = limits(image_HW, None) if narrow and min(image_HW.shape) >= LEAST_SIDE else None
    return None if found is None else _Scaled(image_HW, *found)


@torch.inference_mode()
def _prepared(
    images: Sequence[_Scaled], grid: Grid, options: PreprocessOptions, device: str
) -> list[PreparedSlice]:
    """Of images of one grid."""
    size = options.size
    seen_HW = inside(grid, size)
    seen_1HW = torch.from_numpy(seen_HW.copy()).to(device)[None]
    field_NHW = _fields(images, grid, size, device)
    percents = (options.low_percentile, options.high_percentile)
    patient_NHW = seen_1HW.expand_as(field_NHW)
    if options.remove_background:
        clipped_NHW = clip_percentiles(field_NHW, patient_NHW, percents)
        root_NHW = (clipped_NHW.sqrt() * LEVELS).to(torch.uint8).cpu().numpy()
        outlines = np.stack([outline(root_HW, seen_HW) for root_HW in root_NHW])
        patient_NHW = torch.from_numpy(outlines).to(device)
    unit_NHW = clip_percentiles(field_NHW, patient_NHW, percents) * patient_NHW
    levels_NHW = (unit_NHW * LEVELS + 0.5).to(torch.uint8)
    levels_NHW = equalise_together(levels_NHW, options.clahe_clip_limit, options.clahe_tiles) * patient_NHW
    slopes = _zscores(levels_NHW, patient_NHW) if options.zscore else [(1 / LEVELS, 0.0)] * len(images)
    fields = levels_NHW.cpu().numpy()
    return [PreparedSlice(one, *two, grid) for one, two in zip(fields, slopes, strict=True)]


def _fields(images: Sequence[_Scaled], grid: Grid, size: int, device: str) -> Tensor:
    """The images' values in 0..1 on the field, float32 [N, size, size]."""
    low_N = torch.tensor([float(one.low) for one in images], device=device)
    high_N = torch.tensor([float(one.high) for one in images], device=device)
    views = np.stack([within_view(one.image_HW, grid, size) for one in images]).astype(np.int32)
    view_NHW = torch.from_numpy(views).to(device).float()
    unit_NHW = (view_NHW - low_N[:, None, None]) / (high_N - low_N)[:, None, None]
    rows_OI, columns_OI = (torch.from_numpy(one.copy()).to(device) for one in view_weights(grid, size))
    return rows_OI @ unit_NHW @ columns_OI.T


def clip_percentiles(field_NHW: Tensor, of_NHW: Tensor, percents: tuple[float, float]) -> Tensor:
    """As intensity.py, for each field over its own pixels ``of_NHW``."""
    least = torch.finfo(field_NHW.dtype).max
    sorted_NP = field_NHW.where(of_NHW, least).flatten(1).sort(1).values
    count_N = of_NHW.flatten(1).sum(1)
    bottom_N11, top_N11 = (_percentile(sorted_NP, count_N, one)[:, None, None] for one in percents)
    wide_N11 = top_N11 > bottom_N11
    stretched_NHW = (field_NHW - bottom_N11) / (top_N11 - bottom_N11).where(wide_N11, 1)
    return stretched_NHW.where(wide_N11, field_NHW).clamp(0, 1)


def _percentile(sorted_NP: Tensor, count_N: Tensor, percent: float) -> Tensor:
    """Of the first ``count_N`` of the sorted values, by linear interpolation."""
    at_N = (count_N - 1).double() * percent / 100
    below_N = at_N.floor().long()
    above_N = torch.minimum(below_N + 1, count_N - 1)
    lower_N, upper_N = (sorted_NP.gather(1, one[:, None])[:, 0].double() for one in (below_N, above_N))
    return (lower_N + (upper_N - lower_N) * (at_N - below_N)).float()


def _zscores(levels_NHW: Tensor, of_NHW: Tensor) -> list[tuple[float, float]]:
    """Slope and intercept of each field, as intensity.py; sums of levels are exact."""
    of_NP, levels_NP = of_NHW.flatten(1), levels_NHW.flatten(1).long()
    count_N = of_NP.sum(1).double()
    mean_N = (levels_NP * of_NP).sum(1) / count_N
    variance_N = (levels_NP * levels_NP * of_NP).sum(1) / count_N - mean_N * mean_N
    pairs = torch.stack((mean_N, variance_N.clamp(min=0).sqrt()), 1).tolist()
    return [
        (0.0, 0.0) if deviation < LEAST_DEVIATION * LEVELS else (1 / deviation, -mean / deviation)
        for mean, deviation in pairs
    ]
