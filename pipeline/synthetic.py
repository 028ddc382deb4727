"""Synthetic prostate-like MRI as DICOM, for the demo, the benchmarks and the tests: nobody's anatomy.

A body ellipse, pelvic bones, a bladder and a brighter gland with a dark rim that swells and shrinks along the
slices, under a smooth coil flare and Rician-like noise. MR Image Storage, 16 bit, explicit little endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

if TYPE_CHECKING:
    from pathlib import Path


Plane = tuple[NDArray[np.float64], NDArray[np.float64]]  # x and y of every pixel, mm
Pair = tuple[float, float]  # x, y in mm


@dataclass(frozen=True, slots=True)
class Phantom:
    """One patient's shape; millimetres, from the image's centre."""

    size: int = 256
    spacing_mm: float = 0.7
    slice_mm: float = 3.0
    seed: int = 0

    def slices(self, count: int) -> NDArray[np.uint16]:
        """A series [S, H, W], gland in the middle two thirds."""
        random = np.random.default_rng(self.seed)
        axis = (np.arange(self.size) - (self.size - 1) / 2) * self.spacing_mm
        x, y = np.meshgrid(axis, axis)
        rx, ry = random.uniform((22, 16), (30, 22))
        cx, cy = random.uniform((-4, -2), (4, 8))
        flare = 1 + random.uniform(0.2, 0.9) * np.exp(-(((y - 45) / 40) ** 2) - (x / 60) ** 2)
        at = np.linspace(-1.5, 1.5, count) if count > 1 else np.zeros(1)
        series = [self._tissue((x, y), (rx * _swell(z), ry * _swell(z)), (cx, cy)) for z in at]
        # a magnitude image: noise in both channels of the receiver
        real, imaginary = random.normal(0, 18, (2, count, self.size, self.size))
        magnitude: NDArray[np.uint16] = np.hypot(np.stack(series) * flare + real, imaginary).astype(np.uint16)
        return magnitude

    def _tissue(self, plane: Plane, gland_mm: Pair, centre_mm: Pair) -> NDArray[np.float64]:
        half = self.size * self.spacing_mm / 2
        image = 260.0 * _inside(plane, (0.92 * half, 0.78 * half), (0, 0))
        for side in (-1, 1):
            image += 120 * _inside(plane, (14, 22), (side * 0.62 * half, -5))
        image += 420 * _inside(plane, (20, 11), (centre_mm[0], centre_mm[1] - 34))
        if min(gland_mm) > 1:
            rx, ry = gland_mm
            image -= 90 * _inside(plane, (rx + 2.5, ry + 2.5), centre_mm)
            image += 210 * _inside(plane, gland_mm, centre_mm)
            image += 140 * _inside(plane, (0.95 * rx, 0.4 * ry), (centre_mm[0], centre_mm[1] + 0.5 * ry))
        return image


def write_series(folder: Path, phantom: Phantom, count: int, patient: str) -> list[Path]:
    """One series of DICOM files; returns them in slice order."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series, frame_of_reference = generate_uid(), generate_uid(), generate_uid()
    files = []
    for number, image in enumerate(phantom.slices(count)):
        dataset = _dataset(image, phantom, number, patient)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.FrameOfReferenceUID = frame_of_reference
        files.append(folder / f"{number:04d}.dcm")
        pydicom.dcmwrite(files[-1], dataset, enforce_file_format=True)
    return files


def _swell(z: float) -> float:
    """The gland's radius along the series, 0 beyond its ends."""
    return float(np.sqrt(max(0.0, 1 - z * z)))


def _inside(plane: Plane, radii_mm: Pair, centre_mm: Pair) -> NDArray[np.float64]:
    """A soft-edged ellipse, 0 to 1."""
    (x, y), (rx, ry), (cx, cy) = plane, radii_mm, centre_mm
    distance: NDArray[np.float64] = np.hypot((x - cx) / rx, (y - cy) / ry)
    return np.clip((1 - distance) * min(rx, ry) / 1.5 + 0.5, 0, 1)


def _dataset(image: NDArray[np.uint16], phantom: Phantom, number: int, patient: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.PatientName, dataset.PatientID = f"Phantom^{patient}", f"PHANTOM-{patient}"
    dataset.PatientBirthDate, dataset.PatientSex = "19500101", "M"
    dataset.StudyID, dataset.StudyDate, dataset.StudyTime = "1", "20260101", "120000"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "", ""
    dataset.Modality, dataset.Manufacturer, dataset.SeriesNumber = "MR", "MedSecure-U synthetic", 1
    dataset.SeriesDescription, dataset.BodyPartExamined = "t2_tse_tra synthetic", "PROSTATE"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "SE", "SK", ""
    dataset.MRAcquisitionType, dataset.EchoTime, dataset.EchoTrainLength = "2D", 100, 15
    dataset.PositionReferenceIndicator = ""
    dataset.InstanceNumber = number + 1
    corner = -(phantom.size - 1) / 2 * phantom.spacing_mm
    dataset.ImagePositionPatient = [round(corner, 4), round(corner, 4), number * phantom.slice_mm]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [phantom.spacing_mm] * 2
    dataset.SliceThickness = dataset.SpacingBetweenSlices = phantom.slice_mm
    dataset.Rows, dataset.Columns = image.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.PixelData = image.tobytes()
    return dataset
