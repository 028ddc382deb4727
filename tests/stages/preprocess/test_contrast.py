"""Adaptive equalisation."""

from __future__ import annotations

import numpy as np

from stages.preprocess.contrast import LEVELS, equalise


def faint() -> np.ndarray:
    """A fine texture within a tenth of the range, on a slow shade."""
    rows_HW, columns_HW = np.mgrid[:128, :128]
    texture_HW = np.random.default_rng(0).random((128, 128)) * 0.1
    return (0.2 + 0.4 * rows_HW / 128 + 0.0 * columns_HW + texture_HW).astype(np.float32)


def test_local_contrast_rises() -> None:
    """The deviation within a small window grows."""
    before_HW, after_HW = faint(), equalise(faint(), 4.0, 4) / LEVELS
    assert after_HW[48:64, 48:64].std() > 1.3 * before_HW[48:64, 48:64].std()


def test_a_lower_limit_gives_less_contrast() -> None:
    """The clip limit limits."""
    deviations = [equalise(faint(), limit, 4)[48:64, 48:64].std() for limit in (1.0, 2.0, 8.0)]
    assert deviations == sorted(deviations)
    assert deviations[0] < deviations[2]


def test_values_become_levels() -> None:
    """0..1 in, bytes out."""
    after_HW = equalise(faint(), 2.0, 4)
    assert after_HW.dtype == np.uint8
    assert after_HW.min() < 64
    assert after_HW.max() > 192
