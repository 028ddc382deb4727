"""What other programs say of our DICOM Segmentations.

``tests/install-dicom3tools.sh`` installs dciodvfy, ``pip install dcmqi`` a second reader; without them these
tests are skipped. The module that they judge is of the standard, not of one reader.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
from highdicom.color import CIELabColor
from pydicom import Dataset, dcmread

from stages.deliver.product import OUTLINE_RGB
from tests.stages.deliver.test_seg_sources import SOURCES

if TYPE_CHECKING:
    from stages.places import Place
    from tests.stages.deliver.conftest import Clinic

DCIODVFY = shutil.which("dciodvfy")
READ = "segimage2itkimage"  # of dcmqi
DCMQI = shutil.which(READ) or shutil.which(READ, path=Path(sys.executable).parent)
BARE = ("SliceThickness", "PatientID", "PatientBirthDate", "StudyDate", "StudyTime", "ReferringPhysicianName")
# A SEG repeats what its source lacks, empty: docs/delivery.md.
EXPLAINED = {
    f"Warning - </{name}> - Missing attribute or value that would be needed to build DICOMDIR"
    for name in ("PatientID(0010,0020)", "StudyDate(0008,0020)", "StudyTime(0008,0030)")
}


def bare(clinic: Clinic) -> list[Place]:
    """Slices without what a header may lack."""

    def strip(instance: Dataset, _: int) -> None:
        for keyword in BARE:
            delattr(instance, keyword)

    return clinic.dicom(6, strip)


def alone(clinic: Clinic) -> list[Place]:
    return clinic.dicom(1)


@pytest.mark.skipif(DCIODVFY is None, reason="dciodvfy is not installed: tests/install-dicom3tools.sh")
@pytest.mark.parametrize("novelty", [0.5, 1.5], ids=["usual", "marked"])
@pytest.mark.parametrize("source", [*SOURCES, bare, alone])
def test_a_validator_of_the_standard_finds_nothing(
    clinic: Clinic, source: Callable[[Clinic], list[Place]], novelty: float
) -> None:
    """No error, and no warning but those that the document explains."""
    places = source(clinic)
    clinic.deliver(clinic.batch(places, clinic.balls(len(places)), novelty=[novelty] * len(places)))
    answer = subprocess.run(
        [str(DCIODVFY), "-new", str(clinic.of() / "seg.dcm")], capture_output=True, text=True, check=False
    )
    assert set((answer.stdout + answer.stderr).splitlines()) - EXPLAINED == {"Segmentation"}


@pytest.mark.skipif(DCMQI is None, reason="dcmqi is not installed: pip install dcmqi")
@pytest.mark.parametrize("source", [*SOURCES, bare])
def test_another_reader_finds_the_same_voxels_and_volume(
    clinic: Clinic, source: Callable[[Clinic], list[Place]]
) -> None:
    """Dcmqi rebuilds the volume from positions; it has as many voxels, of the same size."""
    places, masks = source(clinic), clinic.balls(6)
    clinic.deliver(clinic.batch(places, masks))
    subprocess.run(
        [
            *(str(DCMQI), "--inputDICOM", str(clinic.of() / "seg.dcm")),
            *("--outputDirectory", str(clinic.folder), "-t", "nifti", "-p", "read"),
        ],
        check=True,
        capture_output=True,
    )
    image = nib.load(clinic.folder / "read-1.nii.gz")
    found = np.asarray(image.dataobj) != 0
    assert int(found.sum()) == sum(int(mask_HW.sum()) for mask_HW in masks)
    volume_ml = found.sum() * abs(np.linalg.det(image.affine[:3, :3])) / 1000
    assert clinic.measured()["volume_ml"] == pytest.approx(volume_ml, rel=1e-3)


def test_the_recommended_colour_is_that_of_the_outline(clinic: Clinic) -> None:
    """A viewer that turns CIELab into sRGB gets the amber of the overlay, without leaving the gamut."""
    clinic.deliver(clinic.batch(clinic.dicom(3), clinic.balls(3)))
    value = tuple(dcmread(clinic.of() / "seg.dcm").SegmentSequence[0].RecommendedDisplayCIELabValue)
    assert CIELabColor.from_dicom_value(value).to_rgb() == OUTLINE_RGB
    assert srgb(value) == pytest.approx(OUTLINE_RGB, abs=1.5)


def srgb(value: tuple[int, ...]) -> list[float]:
    """By a second way: CIE 1976 with the white of D65, as OHIF and dcmqi take it, then IEC 61966-2-1."""
    lightness, a, b = value[0] / 65535 * 100, value[1] / 257 - 128, value[2] / 257 - 128
    f = np.array([(lightness + 16) / 116 + a / 500, (lightness + 16) / 116, (lightness + 16) / 116 - b / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.95047, 1.0, 1.08883]
    to_linear = np.array(
        [
            [3.2404542, -1.5371385, -0.4985314],
            [-0.9692660, 1.8760108, 0.0415560],
            [0.0556434, -0.2040259, 1.0572252],
        ]
    )
    return [255 * (12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055) for v in to_linear @ xyz]
