"""Masks mended by where their slices lie in the patient."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np
from pydicom import Dataset

from stages.deliver.mend import corners_of
from stages.deliver.planes import Plane, SegmentedFrame
from stages.grid import Mask
from stages.places import FileKind, Place

if TYPE_CHECKING:
    from tests.stages.deliver.conftest import Clinic

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def plane(*position: float, spacing: float = 0.5) -> Plane:
    """An axial slice of 10 by 20 pixels, twice as wide as high."""
    frame = SegmentedFrame(b"", Place("", 0, FileKind.DICOM), Mask.pack(np.ones((10, 20))), True, 0.5)
    return Plane(frame, (spacing, 2 * spacing), None, None, Dataset(), np.array(position), AXIAL)


def test_corners_are_whole_pixels_from_the_first() -> None:
    """Rows go by the second coordinate, columns by the first, each by its own spacing; depth is nothing."""
    assert corners_of([plane(5, 7, 0), plane(5, 7, 9), plane(8.1, 5.9, 3)]) == [(0, 0), (0, 0), (-2, 3)]


def test_slices_of_another_spacing_lie_centre_on_centre() -> None:
    """So that they are off by half the difference at either edge, not by all of it at one."""
    assert corners_of([plane(0, 0, 0), plane(-10, -2.5, 3, spacing=1.0)]) == [(0, 0), (0, 0)]


def test_a_slice_without_geometry_leaves_all_as_they_are() -> None:
    """Then pixels are all that is known; a value that is no number is no geometry."""
    first = plane(5, 7, 0)
    for lost in (
        replace(first, position_mm=None),
        replace(first, orientation=None),
        replace(first, spacing_mm=None),
        plane(np.inf, 0, 0),
        plane(1e300, 0, 0),
        replace(first, orientation=(np.nan,) * 6),
    ):
        assert corners_of([first, lost]) == corners_of([lost, first]) == []
    assert corners_of([]) == []


def test_slices_of_a_sheared_volume_lie_where_its_affine_says(clinic: Clinic) -> None:
    """By pixel index the object would be torn into slices, of which the largest stayed."""
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[1, 2] = 20.0  # ten pixels a slice
    path = Path(clinic.folder / "leaning.nii")
    nibabel.Nifti1Image(np.zeros((20, 60, 5), np.int16), affine).to_filename(path)
    masks = np.zeros((5, 20, 60))
    for number in range(1, 4):
        masks[number, 5:15, 45 - 10 * number : 45 - 10 * number + 7 + number % 2] = 1
    places = [Place(str(path), number, FileKind.NIFTI) for number in range(5)]
    clinic.deliver(clinic.batch(places, list(masks), novelty=[0.5] * 5))
    (mask,) = clinic.measured()["masks"]
    assert [one["pixels"] for one in mask["slices"]] == [0, 80, 70, 80, 0]
