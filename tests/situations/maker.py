"""Situations of real series, each built from one phantom whose volume is known, and a segmenter that sees it.

The phantom is a ball of bright pixels. Its segmentation is a threshold, so truth is exact to the voxel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from pipeline.config import Settings
from pipeline.devices import Devices
from pipeline.engine.graph import Graph
from pipeline.stream import onward
from stages.base import Split
from stages.batches import Entries, Frames, Located, Segmented
from stages.grid import Mask
from stages.ingest.stage import Ingest

SIDE = 40  # pixels
PIXEL_MM = 1.25
GAP_MM = 3.0
RADIUS_MM = 18.0
DEPTHS_MM = tuple(GAP_MM * n for n in range(-9, 10))
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
FEATURES = 256  # as many as the product's weights give
BRIGHT, DARK = 1000, 100


@dataclass(frozen=True, slots=True)
class Threshold:
    """Stage[Frames, Segmented]: what is bright is prostate."""

    name: ClassVar[str] = "segment"

    @contextmanager
    def open(self) -> Iterator[Callable[[Frames], Split[Segmented]]]:
        """Nothing to load."""
        yield self._run

    def _run(self, frames: Frames) -> Split[Segmented]:
        count = len(frames)
        feature_ND = np.zeros((count, FEATURES), np.float32)
        feature_ND[:, 0] = 1
        masks = tuple(Mask.pack(frame.image > (BRIGHT + DARK) / 2) for frame in frames.frames)
        known_N = np.array([frame.spacing_mm is not None for frame in frames.frames])
        nothing_N = np.zeros(count, np.float32)
        return Split(Segmented(frames.rows, masks, nothing_N, known_N, feature_ND, nothing_N))


def thresholded(
    settings: Settings, keys: Path, index: Path, results: Path, where: Devices
) -> Graph[Located, Entries]:
    """The product's stream with a segmenter that needs no weights; a run states those of the product."""
    front = Graph.of(Ingest(settings.ingest, keys)).then(Threshold())
    return onward(front, settings, keys, index, results, where)


def ball(depth_mm: float, radius_mm: float = RADIUS_MM) -> NDArray[np.uint16]:
    """The phantom's slice at a depth, [H, W]."""
    axis = (np.arange(SIDE) - (SIDE - 1) / 2) * PIXEL_MM
    inside = axis[:, None] ** 2 + axis**2 + depth_mm**2 <= radius_mm**2
    return np.where(inside, BRIGHT, DARK).astype(np.uint16)


def volume_ml(depths_mm: Sequence[float] = DEPTHS_MM, radius_mm: float = RADIUS_MM) -> float:
    """What the slices at these depths hold by the trapezoidal rule; the ball ends within them."""
    areas = [int((ball(depth, radius_mm) == BRIGHT).sum()) * PIXEL_MM**2 for depth in depths_mm]
    return float(np.trapezoid(areas, depths_mm)) / 1000


@dataclass
class Study:
    """One situation's files: patient and series of their own, instances numbered as they are made."""

    folder: Path
    name: str
    overrides: dict[str, Any] = field(default_factory=dict)  # of every object

    @property
    def series(self) -> str:
        """The Series Instance UID."""
        return str(generate_uid(entropy_srcs=[self.name]))

    def uid(self, *names: object) -> str:
        """A UID that is always the same for a name."""
        return str(generate_uid(entropy_srcs=[self.name, *map(str, names)]))

    def slice(self, depth: float, number: int, file: str = "", **values: Any) -> Path:
        """A single-frame object of the phantom at a depth."""
        made = self._object(values.pop("image", ball(depth)), values.pop("uid", self.uid(number)))
        made.SOPClassUID = MRImageStorage
        made.InstanceNumber = number
        made.ImagePositionPatient = [0, 0, depth]
        made.ImageOrientationPatient = list(AXIAL)
        made.PixelSpacing = [PIXEL_MM, PIXEL_MM]
        made.SliceThickness = GAP_MM
        return self._save(made, file or f"{number:04d}.dcm", values)

    def volume(self, depths: Sequence[float] = DEPTHS_MM, **values: Any) -> None:
        """Slices at these depths."""
        for number, depth in enumerate(depths, 1):
            self.slice(depth, number, **values)

    def enhanced(self, frames: Sequence[Mapping[str, Any]], file: str, **values: Any) -> Path:
        """A multi-frame object; of each frame the depth, the b-value and the like."""
        made = self._object(np.stack([ball(frame["depth"]) for frame in frames]), self.uid(file))
        made.SOPClassUID = EnhancedMRImageStorage
        made.InstanceNumber = 1
        made.PerFrameFunctionalGroupsSequence = [_groups(frame) for frame in frames]
        measures = Dataset()
        measures.PixelSpacing, measures.SliceThickness = [PIXEL_MM, PIXEL_MM], GAP_MM
        shared = Dataset()
        shared.PixelMeasuresSequence = [measures]
        made.SharedFunctionalGroupsSequence = [shared]
        return self._save(made, file, values)

    def _object(self, image: NDArray[np.uint16], uid: str) -> Dataset:
        made = Dataset()
        made.SOPInstanceUID = uid
        made.PatientID, made.PatientName = f"ID-{self.name}", f"Case^{self.name}"
        made.StudyInstanceUID, made.SeriesInstanceUID = self.uid("study"), self.series
        made.FrameOfReferenceUID = self.uid("frame of reference")
        made.Modality = "MR"
        made.Rows, made.Columns = image.shape[-2:]
        if image.ndim == 3:
            made.NumberOfFrames = len(image)
        made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
        made.BitsAllocated = made.BitsStored = 16
        made.HighBit, made.PixelRepresentation = 15, 0
        made.PixelData = image.tobytes()
        return made

    def _save(self, made: Dataset, file: str, values: Mapping[str, Any]) -> Path:
        for name, value in {**self.overrides, **values}.items():
            if value is None:
                delattr(made, name)
            else:
                setattr(made, name, value)
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        path = self.folder / self.name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        made.save_as(path, enforce_file_format=True)
        return path


def _groups(frame: Mapping[str, Any]) -> Dataset:
    place, orientation, content, group = Dataset(), Dataset(), Dataset(), Dataset()
    place.ImagePositionPatient = [0, 0, frame["depth"]]
    orientation.ImageOrientationPatient = list(frame.get("orientation", AXIAL))
    content.StackID = "1"
    group.PlanePositionSequence, group.PlaneOrientationSequence = [place], [orientation]
    group.FrameContentSequence = [content]
    if "b_value" in frame:
        diffusion = Dataset()
        diffusion.DiffusionBValue = frame["b_value"]
        group.MRDiffusionSequence = [diffusion]
    return group


def tilted(degrees: float) -> list[float]:
    """Axial cosines turned about the patient's left-right axis."""
    angle = math.radians(degrees)
    return [1.0, 0.0, 0.0, 0.0, math.cos(angle), math.sin(angle)]
