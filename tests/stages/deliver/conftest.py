"""A small clinic: sources on disk, and batches as segmentation hands them on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from stages.base import Split
from stages.batches import Rows, Segmented
from stages.deliver.options import DeliverOptions
from stages.deliver.stage import Deliver, Delivered
from stages.grid import Mask
from stages.ingest.site import Site
from stages.places import FileKind, Place, StackId

SECRET = bytes(range(32))


def disc(shape: tuple[int, int], radius: float) -> np.ndarray:
    """A filled circle, off centre so that any flip shows."""
    rows_HW, columns_HW = np.mgrid[: shape[0], : shape[1]]
    return ((rows_HW - shape[0] * 0.4) ** 2 + (columns_HW - shape[1] * 0.55) ** 2 < radius**2).astype(
        np.uint8
    )


@dataclass(frozen=True)
class Clinic:
    """A site with its keys, its sources and its results."""

    folder: Path

    @property
    def results(self) -> Path:
        """Where deliver writes."""
        return self.folder / "results"

    def balls(self, count: int, shape: tuple[int, int] = (48, 40)) -> list[np.ndarray]:
        """Masks of a ball, one a slice, empty at both ends."""
        middle = (count - 1) / 2
        heights = [((i - middle) / max(count / 3, 0.6)) ** 2 for i in range(count)]
        return [disc(shape, 12 * max(0.0, 1 - height) ** 0.5) for height in heights]

    def batch(
        self,
        places: Sequence[Place],
        masks: Sequence[np.ndarray],
        series: Sequence[str] | None = None,
        *,
        known: bool = True,
        stacks: Sequence[StackId] = (),
        novelty: Sequence[float] | None = None,
    ) -> Segmented:
        """What segmentation hands on; all one series and one stack unless named."""
        site = Site(SECRET)
        keys = tuple(hashlib.sha256(f"{place.path} {place.frame}".encode()).digest() for place in places)
        count = len(places)
        rows = Rows(
            keys,
            tuple(site.series(name) for name in series or ["1.2.3"] * count),
            (b"",) * count,
            tuple(site.seal_ticket(place, key) for place, key in zip(places, keys, strict=True)),
            tuple(stacks),
        )
        return Segmented(
            rows,
            tuple(Mask.pack(mask_HW) for mask_HW in masks),
            np.linspace(0.5, 0.9, count, dtype=np.float32),
            np.full(count, known),
            np.zeros((count, 4), np.float32),
            np.array(novelty or [(0.5, 1.5, np.nan)[i % 3] for i in range(count)], np.float32),
        )

    def stage(self, options: DeliverOptions | None = None) -> Deliver:
        """Deliver, wired to this clinic."""
        return Deliver(options or DeliverOptions(), self.results, self.folder / "keys", "weights-7")

    def deliver(self, batch: Segmented, options: DeliverOptions | None = None) -> Split[Delivered]:
        """One call of an opened stage."""
        with self.stage(options).open() as work:
            return work(batch)

    def of(self, series: str = "1.2.3") -> Path:
        """The results folder of a series."""
        return self.results / Site(SECRET).series(series).hex()[:16]

    def measured(self, series: str = "1.2.3") -> dict[str, Any]:
        """The measurements of a series."""
        content: dict[str, Any] = json.loads((self.of(series) / "measurements.json").read_text())
        return content

    def dicom(self, count: int, change: Callable[[Dataset, int], None] | None = None) -> list[Place]:
        """An axial MR series of 48 by 40 pixels, 3 mm apart, named so that name order is not anatomy."""
        uids = [generate_uid(entropy_srcs=[str(self.folder), name]) for name in ("study", "series", "frame")]
        places = []
        for i in range(count):
            instance = mr_instance(i, *uids)
            if change:
                change(instance, i)
            path = self.folder / f"{(count - i) * 7 % 100:02d}-{i}.dcm"
            instance.save_as(path, enforce_file_format=True)
            places.append(Place(str(path), 0, FileKind.DICOM))
        return places


def mr_instance(i: int, study: str, series: str, frame_of_reference: str) -> Dataset:
    """One conformant MR slice."""
    instance = Dataset()
    instance.file_meta = FileMetaDataset()
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    instance.file_meta.MediaStorageSOPClassUID = instance.SOPClassUID = MRImageStorage
    instance.SOPInstanceUID = generate_uid(entropy_srcs=[series, str(i)])
    instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
    instance.PatientName, instance.PatientID = "Doe^Jane", "4711"
    instance.PatientBirthDate, instance.PatientSex = "19500101", "M"
    instance.StudyInstanceUID, instance.SeriesInstanceUID = study, series
    instance.FrameOfReferenceUID = frame_of_reference
    instance.StudyID, instance.AccessionNumber = "1", "2"
    instance.StudyDate, instance.StudyTime, instance.ReferringPhysicianName = "20260101", "120000", ""
    instance.Modality, instance.SeriesNumber, instance.InstanceNumber = "MR", 3, i + 1
    instance.ImagePositionPatient = [-10, -12, 3.0 * i]
    instance.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    instance.PixelSpacing, instance.SliceThickness = [0.5, 0.75], 2.5
    instance.Rows, instance.Columns, instance.SamplesPerPixel = 48, 40, 1
    instance.PhotometricInterpretation, instance.PixelRepresentation = "MONOCHROME2", 0
    instance.BitsAllocated, instance.BitsStored, instance.HighBit = 16, 16, 15
    instance.PixelData = np.random.default_rng(i).integers(0, 2000, (48, 40), np.uint16).tobytes()
    return instance


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    """An empty clinic with a site key."""
    (tmp_path / "keys").mkdir()
    secret = tmp_path / "keys" / "site.key"
    secret.touch(0o600)
    secret.write_text(SECRET.hex() + "\n")
    return Clinic(tmp_path)
