"""The patient's outline."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from stages.batches import Frame
from stages.preprocess.background import foreground
from stages.preprocess.grid import grid_of, inside, to_field
from stages.preprocess.intensity import clip_percentiles, unit_range

DATA = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "promise12"
ALL = np.ones((64, 64), bool)
ROWS, COLUMNS = np.mgrid[:64, :64]


def disc(row: int, column: int, radius: int) -> np.ndarray:
    """Where a filled circle lies."""
    return (ROWS - row) ** 2 + (COLUMNS - column) ** 2 <= radius**2


def test_the_largest_component_is_kept_with_its_holes() -> None:
    """A dark organ inside stays, a label burned in beside the patient goes."""
    image_HW = np.where(disc(32, 32, 20), 0.6, 0.02).astype(np.float32)
    image_HW[disc(32, 32, 6)] = 0
    image_HW[2:6, 2:6] = 1
    patient_HW = foreground(image_HW, ALL)
    assert patient_HW[disc(32, 32, 20)].all()
    assert not patient_HW[~disc(32, 32, 22)].any()


def test_flare_does_not_take_the_tissue_with_it() -> None:
    """Tissue at a tenth of the coil's brightness is still patient, where plain Otsu would drop it."""
    image_HW = np.where(disc(32, 32, 25), 0.1, 0.0).astype(np.float32)
    image_HW[disc(44, 32, 8)] = 1
    assert foreground(image_HW, ALL)[disc(32, 32, 25)].all()


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_where_nothing_stands_out_all_is_patient(value: float) -> None:
    """A constant field has no background to remove."""
    seen_HW = disc(32, 32, 30)
    assert np.array_equal(foreground(np.full((64, 64), value, np.float32), seen_HW), seen_HW)


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="the shared PROMISE12 folder is absent")
def test_no_labelled_gland_is_taken_for_background() -> None:
    """On all 36 labelled cases the outline keeps every pixel of every gland."""
    files = sorted(DATA.glob("*/*_segmentation.nii.gz"))
    assert len(files) == 36
    for file in files:
        labels = nib.load(file)
        mask_HWN = np.asarray(labels.dataobj) > 0
        image_HWN = np.asarray(nib.load(file.with_name(file.name.replace("_segmentation", ""))).dataobj)
        row_mm, column_mm = (float(mm) for mm in labels.header.get_zooms()[:2])
        grid = grid_of(Frame(mask_HWN[:, :, 0], (row_mm, column_mm)), 128, 1.0)
        seen_HW = inside(grid, 128)
        for k in np.flatnonzero(mask_HWN.any(axis=(0, 1))):
            unit_HW = unit_range(image_HWN[:, :, k])
            assert unit_HW is not None
            clipped_HW = clip_percentiles(to_field(unit_HW, grid, 128), seen_HW, 0.5, 99.5)
            gland_HW = to_field(mask_HWN[:, :, k], grid, 128) > 0.5
            assert foreground(clipped_HW, seen_HW)[gland_HW].all(), (file.name, k)
