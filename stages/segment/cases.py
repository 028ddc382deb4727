"""Labelled cases: NAME.nii.gz beside NAME_segmentation.nii.gz, read as the stream reads them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from stages.base import OperatorError
from stages.batches import Frame, Frames, Rows
from stages.ingest.faults import BadData, reading
from stages.ingest.nifti import open_nifti, slice_axis
from stages.ingest.options import IngestOptions

IMAGE = ".nii.gz"
TRUTH = "_segmentation.nii.gz"
AXES = 3  # of a volume


class CaseError(OperatorError):
    """A labelled case that cannot be used; one sentence that names the file."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Where one case lies."""

    name: str
    image: Path
    truth: Path


@dataclass(frozen=True, slots=True)
class Case:
    """One patient, decoded."""

    name: str
    frames: Frames  # in slice order; keys are slice numbers, nothing is sealed
    truth_SHW: NDArray[np.bool_]  # the reference on the frames' grid
    spacing_mm: tuple[float, float, float]  # slice, row, column


def find_pairs(folder: Path) -> tuple[Pair, ...]:
    """The folder's cases by name. Raises CaseError where there is none, or one is half there."""
    if not folder.is_dir():
        raise CaseError(f"{folder} is not a folder of NAME.nii.gz with NAME_segmentation.nii.gz")
    names = {path.name for path in folder.glob(f"*{IMAGE}")}
    truths = {name for name in names if name.endswith(TRUTH)}
    pairs = []
    for truth in sorted(truths):
        image = truth.removesuffix(TRUTH) + IMAGE
        if image not in names:
            raise CaseError(f"{folder / truth} has no image beside it: {image} is missing")
        pairs.append(Pair(truth.removesuffix(TRUTH), folder / image, folder / truth))
    alone = names - truths - {pair.image.name for pair in pairs}
    if alone:
        name = min(alone)
        raise CaseError(f"{folder / name} has no reference: {name.removesuffix(IMAGE) + TRUTH} is missing")
    if not pairs:
        raise CaseError(f"{folder} holds no case: NAME.nii.gz with NAME_segmentation.nii.gz is expected")
    return tuple(pairs)


def read_case(pair: Pair, options: IngestOptions | None = None) -> Case:
    """Both volumes on the grid that ingest cuts the image into. Raises CaseError."""
    image, truth = _header(pair.image), _header(pair.truth)
    if image.shape != truth.shape:
        raise CaseError(
            f"{pair.truth} has {_shape(truth)} voxels and {pair.image.name} has {_shape(image)}: "
            "they must lie on one grid"
        )
    axis = slice_axis(image)
    count = image.shape[axis]
    try:
        with reading(), open_nifti(str(pair.image), range(count), options or IngestOptions()) as source:
            frames = tuple(source.frame(k) for k in range(count))
    except BadData as error:
        raise CaseError(f"{pair.image}: {error}") from error
    try:
        truth_SHW = np.moveaxis(np.asanyarray(truth.dataobj), axis, 0) > 0
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise CaseError(f"{pair.truth} cannot be read as NIfTI: {error}") from error
    keys = tuple(number.to_bytes(32, "big") for number in range(count))
    rows = Rows(keys, (bytes(32),) * count, (b"",) * count, (b"",) * count)
    return Case(pair.name, Frames(rows, frames), truth_SHW, _spacing_mm(pair, image, frames[0]))


def _header(path: Path) -> SpatialImage:
    """The volume, voxels unread."""
    try:
        image = nibabel.load(path)
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError) as error:
        raise CaseError(f"{path} cannot be read as NIfTI: {error}") from error
    if not isinstance(image, SpatialImage) or len(image.shape) != AXES or 0 in image.shape:
        raise CaseError(f"{path} has {_shape(image)} voxels where a volume has rows, columns and slices")
    return image


def _spacing_mm(pair: Pair, image: SpatialImage, frame: Frame) -> tuple[float, float, float]:
    """Slice, row and column spacing; ingest has turned the file's unit into millimetres in-plane."""
    if frame.spacing_mm is None:
        raise CaseError(f"{pair.image} gives no voxel size: distances and volumes cannot be measured")
    axis = slice_axis(image)
    lengths = np.linalg.norm(np.asarray(image.affine, np.float64)[:3, :3], axis=0)
    unit_mm = frame.spacing_mm[0] / np.delete(lengths, axis)[0]
    return float(lengths[axis] * unit_mm), *frame.spacing_mm


def _shape(image: Any) -> str:
    return " x ".join(str(length) for length in image.shape)
