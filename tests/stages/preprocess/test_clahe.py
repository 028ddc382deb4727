"""The equalisation in torch."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.preprocess.clahe import equalise_together


@pytest.mark.parametrize("kind", ["noise", "ramp", "flat", "few"])
@given(
    height=st.integers(32, 80),
    width=st.integers(32, 80),
    tiles=st.integers(1, 8),
    clip_limit=st.sampled_from([0.01, 0.9, 2.0, 3.7, 40.0]),
    seed=st.integers(0, 1000),
)
def test_every_image_is_equalised_as_by_opencv(
    kind: str, height: int, width: int, tiles: int, clip_limit: float, seed: int
) -> None:
    """Pixel for pixel, whether or not the tiles fit the image."""
    random = np.random.default_rng(seed)
    images_NHW = random.integers(0, 256, (2, height, width)).astype(np.uint8)
    if kind == "ramp":
        images_NHW = (images_NHW // 64 + np.arange(width) * 190 // width).astype(np.uint8)
    elif kind == "flat":
        images_NHW[0] = seed % 256
    elif kind == "few":
        images_NHW //= 100
    found_NHW = equalise_together(torch.from_numpy(images_NHW), clip_limit, tiles).numpy()
    wanted = [cv2.createCLAHE(clip_limit, (tiles, tiles)).apply(one_HW) for one_HW in images_NHW]
    np.testing.assert_array_equal(found_NHW, np.stack(wanted))
