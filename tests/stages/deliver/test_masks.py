"""Masks of rasters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from stages.places import FileKind, Place

if TYPE_CHECKING:
    from tests.stages.deliver.conftest import Clinic


def test_a_picture_gets_a_black_and_white_png(clinic: Clinic) -> None:
    """NAME_mask.png, 0 and 255, beside its measurements; no overlay is drawn on it."""
    mask_HW = clinic.balls(1)[0]
    clinic.deliver(
        clinic.batch([Place("some/where/knee left.jpeg", 0, FileKind.RASTER)], [mask_HW], known=False)
    )
    assert {path.name for path in clinic.of().iterdir()} == {"knee_left_mask.png", "measurements.json"}
    with Image.open(clinic.of() / "knee_left_mask.png") as picture:
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture), mask_HW * 255)
    assert clinic.measured()["spacing_known"] is False


def test_pages_become_pages(clinic: Clinic) -> None:
    """A TIFF of several pages, even of several sizes, gets one of as many, in order."""
    masks = [np.tri(20, 30), np.tri(12, 9), np.ones((20, 30))]
    places = [Place("scan.tif", page, FileKind.RASTER) for page in range(3)]
    clinic.deliver(clinic.batch(places[::-1], masks[::-1]))
    with Image.open(clinic.of() / "scan_mask.tif") as picture:
        assert picture.n_frames == 3
        for page, mask_HW in enumerate(masks):
            picture.seek(page)
            assert np.array_equal(np.asarray(picture), mask_HW * 255)


def test_pictures_of_one_name_do_not_overwrite_each_other(clinic: Clinic) -> None:
    """Two sources of one series and one stem get two files, each listed with its own pixels."""
    places = [Place("a/x.png", 0, FileKind.RASTER), Place("b/x.jpg", 0, FileKind.RASTER)]
    clinic.deliver(clinic.batch(places, [np.ones((9, 9)), np.zeros((9, 9))]))
    listed = {mask["file"]: mask["slices"][0]["pixels"] for mask in clinic.measured()["masks"]}
    assert listed == {"x_mask.png": 81, "x_mask_2.png": 0}
