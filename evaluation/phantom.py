"""Synthetic prostate-like MRI as DICOM, for the demo, the benchmarks and the tests: nobody's anatomy.

Fat, muscle, bone, rectum and a zoned gland that swells and shrinks along the slices, under coil flare and
Rician noise. MR Image Storage, 16 bit, explicit little endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from scipy import ndimage

if TYPE_CHECKING:
    from pathlib import Path


Coordinates = tuple[NDArray[np.float64], NDArray[np.float64]]  # x and y of every pixel, mm
Point = tuple[float, float]  # x, y in mm
_LEAST_SWELL = 0.15  # of the gland's radius: beyond its ends there is none
_AIR = 30


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
        rx, ry = random.uniform((22, 16), (28, 21))
        centre_mm = random.uniform(-3, 3), random.uniform(-3, 3)
        mottle = _mottle(random, x.shape, 4 / self.spacing_mm, 18)
        at = np.linspace(-1.4, 1.4, count) if count > 1 else np.zeros(1)
        series = []
        for z in at:
            swell = float(np.sqrt(max(0.0, 1 - z * z)))
            image = self._pelvis((x, y), centre_mm, ry)
            if swell > _LEAST_SWELL:
                nodules = _mottle(random, x.shape, 1.4 / self.spacing_mm, 35)
                image = _with_gland(image, (x, y), (rx * swell, ry * swell), centre_mm, nodules)
            elif z < 0:
                image = _over(
                    image, 460, _inside((x, y), (30, 24), (centre_mm[0], centre_mm[1] - 6))
                )  # bladder
            else:
                image = _over(image, 110, _inside((x, y), (9, 9), centre_mm))  # sphincter
            series.append(image + mottle * (image > _AIR))
        flare = 1 + random.uniform(0.2, 0.6) * np.exp(-(((y - 45) / 40) ** 2) - (x / 60) ** 2)
        # a magnitude image: noise in both channels of the receiver
        real, imaginary = random.normal(0, 16, (2, count, self.size, self.size))
        magnitude: NDArray[np.uint16] = np.hypot(np.stack(series) * flare + real, imaginary).astype(np.uint16)
        return magnitude

    def _pelvis(self, plane: Coordinates, centre_mm: Point, ry: float) -> NDArray[np.float64]:
        half = self.size * self.spacing_mm / 2
        rectum_mm = (centre_mm[0], centre_mm[1] + ry + 16)
        image = 420 * _inside(plane, (0.97 * half, 0.80 * half), (0, 0))  # fat
        for side in (-1, 1):
            image = _over(image, 140, _inside(plane, (20, 34), (side * 52, -4)))  # obturator muscle
            image = _over(image, 230, _inside(plane, (12, 24), (side * 74, -10)))  # bone
        image = _over(image, 200, _inside(plane, (34, 40), (0, 0), 6))  # pelvic floor
        image = _over(image, 120, _inside(plane, (17, 13), rectum_mm))
        image = _over(image, 60, _inside(plane, (11, 8), rectum_mm))
        return _over(image, 130, _inside(plane, (26, 12), (0, -42)))  # symphysis


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


def _with_gland(
    image: NDArray[np.float64],
    plane: Coordinates,
    radii_mm: Point,
    centre_mm: Point,
    nodules: NDArray[np.float64],
) -> NDArray[np.float64]:
    """A dark capsule, a bright peripheral zone and a nodular transition zone towards the front."""
    (rx, ry), (cx, cy) = radii_mm, centre_mm
    image = _over(image, 90, _inside(plane, (rx + 2, ry + 2), centre_mm))
    image = _over(image, 380, _inside(plane, radii_mm, centre_mm))
    return _over(image, 230 + nodules, _inside(plane, (0.78 * rx, 0.72 * ry), (cx, cy - 0.22 * ry)))


def _inside(
    plane: Coordinates, radii_mm: Point, centre_mm: Point, edge_mm: float = 1.5
) -> NDArray[np.float64]:
    """A soft-edged ellipse, 0 to 1."""
    (x, y), (rx, ry), (cx, cy) = plane, radii_mm, centre_mm
    distance: NDArray[np.float64] = np.hypot((x - cx) / rx, (y - cy) / ry)
    return np.clip((1 - distance) * min(rx, ry) / edge_mm + 0.5, 0, 1)


def _over(
    image: NDArray[np.float64], value: float | NDArray[np.float64], where: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Paint a value over an image."""
    return image * (1 - where) + value * where


def _mottle(
    random: np.random.Generator, shape: tuple[int, ...], grain: float, strength: float
) -> NDArray[np.float64]:
    """Smooth random texture of a given standard deviation; grain in pixels."""
    texture: NDArray[np.float64] = ndimage.gaussian_filter(random.normal(0, 1, shape), grain)
    texture *= strength / texture.std()
    return texture


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
