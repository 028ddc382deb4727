"""Tiny DICOM objects of every kind that ingest must read, and what a file was taken for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from stages.batches import Frame, Located, Refused
from stages.ingest.decode import read_frames
from stages.ingest.faults import Refusal
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site
from stages.ingest.sources.folder import scan

NAME, PATIENT_ID, BORN = "Mustermann^Erika", "PID-4711", "19640812"
STUDY, SERIES = "1.2.826.0.1.3680043.10.1", "1.2.826.0.1.3680043.10.1.2"


def ramp(height: int = 12, width: int = 10, dtype: str = "u2", most: int = 4095) -> NDArray[Any]:
    """An image without symmetry: every pixel differs, so a transposed or shifted one is noticed."""
    return (np.arange(height * width) * most // (height * width - 1)).reshape(height, width).astype(dtype)


def dicom(image: NDArray[Any], uid: str = f"{SERIES}.1", samples: int = 1, **attributes: Any) -> Dataset:
    """An MR object with this image: ``[H, W]``, ``[F, H, W]`` or, with three samples, ``[H, W, 3]``."""
    dataset = Dataset()
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = uid
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = NAME, PATIENT_ID, BORN
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, SERIES
    dataset.Modality = "MR"
    spatial = image.shape[:-1] if samples > 1 else image.shape
    dataset.Rows, dataset.Columns = spatial[-2:]
    if len(spatial) > 2:
        dataset.NumberOfFrames = spatial[0]
    dataset.SamplesPerPixel = samples
    dataset.PhotometricInterpretation = "RGB" if samples > 1 else "MONOCHROME2"
    if samples > 1:
        dataset.PlanarConfiguration = 0
    bits = image.dtype.itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(image.dtype.kind == "i")
    dataset.PixelData = image.tobytes() + b"\0" * (image.nbytes % 2)
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def save(dataset: Dataset, path: Path, syntax: UID = ExplicitVRLittleEndian) -> Path:
    """Write the object, its native pixels under this native syntax."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.10.9"
    dataset.save_as(path, enforce_file_format=True)
    return path


def compressed(dataset: Dataset, path: Path, syntax: UID) -> Path:
    """Write the object with its pixels compressed."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
    return path


def item(**attributes: Any) -> Sequence:
    """A sequence of one item."""
    inner = Dataset()
    for name, value in attributes.items():
        setattr(inner, name, value)
    return Sequence([inner])


def write_series(folder: Path, depths_mm: list[float], series: str = SERIES) -> list[Path]:
    """Axial slices at these depths, named in the order given."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        save(
            dicom(
                ramp() + row,
                f"{series}.{row + 1}",
                SeriesInstanceUID=series,
                InstanceNumber=row + 1,
                ImagePositionPatient=[0, 0, depth],
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ),
            folder / f"{row:04d}.dcm",
        )
        for row, depth in enumerate(depths_mm)
    ]


def account(path: Path) -> list[Frame | Refusal | Refused]:
    """One entry for everything the file was taken for, by the scan and by the reading of its frames."""
    rows: list[Frame | Refusal | Refused] = []
    options = IngestOptions()
    for found in scan([path], Site(bytes(32)), options):
        if isinstance(found, Located):
            rows.extend(read_frames(found.places, options))
        else:
            rows.append(found)
    return rows


def pseudonym(site: Site, series: str = SERIES) -> bytes:
    """Of the series of an object that ``dicom`` makes."""
    return site.series(PATIENT_ID, NAME.casefold(), BORN, STUDY, series)


def set_uid(path: Path, uid: str) -> None:
    """Give the file's object another SOP Instance UID."""
    dataset = dcmread(path)
    dataset.SOPInstanceUID = uid
    dataset.save_as(path, enforce_file_format=True)
