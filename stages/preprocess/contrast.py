"""Contrast-limited adaptive histogram equalisation (Zuiderveld, Graphics Gems IV, 1994)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

LEVELS = 255  # the brightest


def equalise(unit_HW: NDArray[np.float32], clip_limit: float, tiles: int) -> NDArray[np.uint8]:
    """Values in 0..1 as levels in 0..255, locally equalised over ``tiles`` by ``tiles`` regions.

    In 256 bins: OpenCV's 16-bit variant spreads a tile of some thousand pixels over 65,536 bins, where a
    clip limit cuts nothing and the result is plain equalisation, thirty times dearer.
    """
    levels_HW = (unit_HW * LEVELS + 0.5).astype(np.uint8)
    return np.asarray(cv2.createCLAHE(clip_limit, (tiles, tiles)).apply(levels_HW), np.uint8)
