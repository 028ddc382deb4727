"""How well a mask agrees with a reference: overlap, surface distance, volume.

Dice (1945), and the surface distances as Maier-Hein & Reinke et al. 2024 (Metrics reloaded,
doi 10.1038/s41592-023-02151-z) define them: over the surface voxels of both masks, in millimetres.
Both masks empty is perfect agreement: Dice 1, distance 0. One empty: Dice 0, no distance (None).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Iterable

VolumeMask = NDArray[Any]  # [S, H, W], non-zero inside
Spacing = tuple[float, float, float]  # slice, row, column, in mm


def dice(mask: NDArray[Any], truth: NDArray[Any]) -> float:
    """Twice the overlap over the sum of sizes, any number of dimensions; per-patient on a volume."""
    return pooled_dice([(mask, truth)])


def pooled_dice(pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> float:
    """Dice of all pairs taken as one object, so that large glands weigh more."""
    overlap, total = 0, 0
    for mask, truth in pairs:
        inside, wanted = mask != 0, truth != 0
        overlap += int(np.count_nonzero(inside & wanted))
        total += int(np.count_nonzero(inside)) + int(np.count_nonzero(wanted))
    return 2 * overlap / total if total else 1.0


def dice_slices(mask_SHW: VolumeMask, truth_SHW: VolumeMask) -> float:
    """Mean Dice over the slices where the reference is; without any, the Dice of an empty reference."""
    wanted = [i for i, slice_HW in enumerate(truth_SHW) if slice_HW.any()]
    if not wanted:
        return dice(mask_SHW, truth_SHW)
    return float(np.mean([dice(mask_SHW[i], truth_SHW[i]) for i in wanted]))


def surface_distances_mm(
    mask_SHW: VolumeMask, truth_SHW: VolumeMask, spacing_mm: Spacing
) -> NDArray[np.float64]:
    """From every surface voxel of either mask to the nearest surface voxel of the other, both ways."""
    surfaces = [_surface(mask_SHW), _surface(truth_SHW)]
    to_mask, to_truth = (
        ndimage.distance_transform_edt(~surface, sampling=spacing_mm) for surface in surfaces
    )
    return np.concatenate((to_truth[surfaces[0]], to_mask[surfaces[1]]))


def hd95_mm(mask_SHW: VolumeMask, truth_SHW: VolumeMask, spacing_mm: Spacing) -> float | None:
    """The 95th percentile of the surface distances; None when exactly one mask is empty."""
    return _of_distances(mask_SHW, truth_SHW, spacing_mm, 95)


def asd_mm(mask_SHW: VolumeMask, truth_SHW: VolumeMask, spacing_mm: Spacing) -> float | None:
    """The mean of the surface distances; None when exactly one mask is empty."""
    return _of_distances(mask_SHW, truth_SHW, spacing_mm, None)


def volume_ml(mask_SHW: VolumeMask, spacing_mm: Spacing) -> float:
    """Voxels inside times voxel volume; 1 ml is 1000 cubic millimetres."""
    return float(np.count_nonzero(mask_SHW) * np.prod(spacing_mm) / 1000)


def _surface(mask_SHW: VolumeMask) -> NDArray[np.bool_]:
    """Inside voxels with a face neighbour outside; beyond the volume is outside."""
    inside = mask_SHW != 0
    surface: NDArray[np.bool_] = inside & ~ndimage.binary_erosion(inside)
    return surface


def _of_distances(
    mask_SHW: VolumeMask, truth_SHW: VolumeMask, spacing_mm: Spacing, percentile: float | None
) -> float | None:
    filled = bool(mask_SHW.any()), bool(truth_SHW.any())
    if filled == (False, False):
        return 0.0
    if filled != (True, True):
        return None
    distances = surface_distances_mm(mask_SHW, truth_SHW, spacing_mm)
    return float(distances.mean() if percentile is None else np.percentile(distances, percentile))
