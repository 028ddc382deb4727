"""Labelled cases, read as the stream reads them: every volume becomes NIfTI and goes through ingest's reader.

So spacing and orientation come from the file's own geometry, whatever its format. Any non-zero label is the
structure: MSD labels zones separately, the model does not.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from evaluation.pairs import PICTURES, CaseError, Pair, suffix_of
from stages.batches import Frame, Frames, Rows
from stages.ingest.faults import BadData, reading
from stages.ingest.nifti import header_of, open_nifti
from stages.ingest.options import IngestOptions
from stages.ingest.raster import open_raster
from stages.ingest.volume import Volume

AXES = 3  # of a volume


@dataclass(frozen=True, slots=True)
class Case:
    """One patient, decoded."""

    name: str
    frames: Frames  # in slice order; keys are slice numbers, nothing is sealed
    truth_SHW: NDArray[np.bool_]  # the reference on the frames' grid
    spacing_mm: tuple[float, float, float] | None  # slice, row, column; None for a picture


def read_case(pair: Pair, options: IngestOptions | None = None) -> Case:
    """Both volumes on the grid that ingest cuts the image into. Raises CaseError."""
    options = options or IngestOptions()
    if suffix_of(pair.image) in PICTURES or suffix_of(pair.truth) in PICTURES:
        return _picture(pair, options)
    with _as_nifti(pair.image) as image_path, _as_nifti(pair.truth) as truth_path:
        image, truth = _header(image_path, pair.image), _header(truth_path, pair.truth)
        _same_grid(pair, image.shape, truth.shape)
        _same_orientation(pair, image, truth)
        try:
            with reading():
                volume = header_of(str(image_path), options)
            with reading(), open_nifti(str(image_path), range(volume.frames), options) as source:
                frames = tuple(source.frame(k) for k in range(volume.frames))
        except BadData as error:
            raise CaseError(f"{pair.image}: {error}") from error
        try:
            truth_SHW = np.moveaxis(np.asanyarray(truth.dataobj), volume.axis, 0) != 0
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise CaseError(f"{pair.truth} cannot be read as NIfTI: {error}") from error
        spacing_mm = _spacing_mm(pair, volume)
    return Case(pair.name, _numbered(frames), truth_SHW, spacing_mm)


def _numbered(frames: tuple[Frame, ...]) -> Frames:
    count = len(frames)
    keys = tuple(number.to_bytes(32, "big") for number in range(count))
    return Frames(Rows(keys, (bytes(32),) * count, (b"",) * count, (b"",) * count), frames)


def _picture(pair: Pair, options: IngestOptions) -> Case:
    """One slice; pictures know no spacing."""
    found = []
    for path in (pair.image, pair.truth):
        try:
            with reading(), open_raster(str(path), options) as source:
                found.append(source.frame(0))
        except BadData as error:
            raise CaseError(f"{path}: {error}") from error
    frame, truth = found
    _same_grid(pair, frame.image.shape, truth.image.shape)
    return Case(pair.name, _numbered((frame,)), truth.image[None] > 0, None)


@contextmanager
def _as_nifti(path: Path) -> Iterator[Path]:
    """The file itself, or a temporary copy of its volume as NIfTI."""
    if suffix_of(path) in {".mhd", ".mha"}:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "volume.nii"
            _convert_metaimage(path, copy)
            yield copy
        return
    image = _header(path, path)
    if len(image.shape) == AXES:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:  # MSD keeps T2 and ADC in one file, T2 first
        copy = Path(folder) / "volume.nii"
        first = np.asanyarray(image.dataobj[..., 0])
        if isinstance(image, nibabel.Nifti1Image):  # whose header may state its geometry in three ways
            made = type(image)(first, None, image.header)
        else:
            made = nibabel.Nifti1Image(first, image.affine)  # type: ignore[no-untyped-call]  # stub gap
        made.to_filename(copy)
        yield copy


def _convert_metaimage(path: Path, copy: Path) -> None:
    try:
        import SimpleITK  # noqa: PLC0415  # optional, and large
    except ModuleNotFoundError:
        raise CaseError(f"{path} needs SimpleITK to be read: install medsecure-u[mhd]") from None
    try:
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(copy))
    except RuntimeError as error:  # its one exception
        reason = str(error).strip().splitlines()[-1]
        raise CaseError(f"{path} cannot be read as MetaImage: {reason}") from error


def _same_grid(pair: Pair, image: tuple[int, ...], truth: tuple[int, ...]) -> None:
    if image != truth:
        raise CaseError(
            f"{pair.truth} has {_shape(truth)} voxels and {pair.image.name} has {_shape(image)}: "
            "they must lie on one grid"
        )


def _same_orientation(pair: Pair, image: SpatialImage, truth: SpatialImage) -> None:
    """Refuse two stated orientations that differ: the reference would lie mirrored or turned."""
    ways = {_orientation(one) for one in (image, truth)} - {""}
    if len(ways) > 1:
        raise CaseError(
            f"{pair.truth} runs along other axes than {pair.image.name} ({' and '.join(sorted(ways))}): "
            "they must lie on one grid"
        )


def _orientation(image: SpatialImage) -> str:
    """Such as RAS; empty where the file states none."""
    header: Any = image.header
    stated = isinstance(image, nibabel.Nifti1Pair) and (header["qform_code"] or header["sform_code"])
    ways = nibabel.orientations.aff2axcodes(image.affine)  # type: ignore[no-untyped-call]  # stub gap
    return "".join(str(way) for way in ways) if stated else ""


def _header(path: Path, named: Path) -> SpatialImage:
    """The volume with its voxels unread."""
    try:
        image = nibabel.load(path)
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError) as error:
        raise CaseError(f"{named} cannot be read as NIfTI: {error}") from error
    shape = image.shape if isinstance(image, SpatialImage) else ()
    if not isinstance(image, SpatialImage) or len(shape) not in {AXES, AXES + 1} or 0 in shape:
        raise CaseError(f"{named} has {_shape(shape)} voxels where a volume has rows, columns and slices")
    return image


def _spacing_mm(pair: Pair, volume: Volume) -> tuple[float, float, float]:
    """The distance between slices, and row and column spacing."""
    if volume.spacing_mm is None or volume.slice_distance_mm is None:
        raise CaseError(f"{pair.image} gives no voxel size: distances and volumes cannot be measured")
    return volume.slice_distance_mm, *volume.spacing_mm


def _shape(shape: tuple[Any, ...]) -> str:
    return " x ".join(str(length) for length in shape)
