"""NIfTI-1 and NIfTI-2 volumes (nifti1.h, nifti2.h), plain or gzipped, read slice by slice.

A slice is ``np.take(volume, k, axis=slice_axis(image))``: the remaining axes stay in their order, so a
mask is put back with ``np.stack(masks, axis=slice_axis(image))``. The header alone is given to nibabel;
its size claims are checked before anything is read or unfolded.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from typing import Any, Final

import numpy as np
from nibabel.fileslice import fileslice
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from stages.base import Reason
from stages.batches import Frame
from stages.grid import Display
from stages.ingest.faults import BadData
from stages.ingest.files import open_regular
from stages.ingest.geometry import display, spacing
from stages.ingest.opened import OpenedFile, check_pixels
from stages.ingest.options import IngestOptions
from stages.ingest.rescale import rescaled
from stages.ingest.sniff import GZIP

_CLEARLY: Final = 1.2  # the acquisition axis stands out where its spacing is this much the larger
_DEFLATE_MOST: Final = 1032  # bytes that one byte of deflate can unfold to (zlib, technical details)
_PIECE_BYTES: Final = 1 << 18
_DIMENSIONS: Final = 3
_WIDEST_BYTES: Final = 8
_NIFTI2: Final = (b"\x1c\2\0\0", b"\0\0\2\x1c")  # header size 540, in either byte order
_SINGLE: Final = (b"n+1", b"n+2")
_MILLIMETRES: Final = {1: 1000.0, 3: 0.001}  # xyzt_units: metre, micron; all others are millimetres
_LPS_OF_RAS: Final = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Volume:
    """What the header says, checked."""

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    affine: NDArray[np.float64]  # voxel to RAS millimetres
    oriented: bool
    description: str

    @cached_property
    def axis(self) -> int:
        """The axis that frames are counted along."""
        return _axis(self.shape, self.affine)

    @property
    def frames(self) -> int:
        """How many slices the volume has."""
        return self.shape[self.axis]


def slice_axis(image: SpatialImage) -> int:
    """The axis along which a volume is cut into frames: the one it was acquired along.

    The axis of clearly largest spacing, else the one nearest to the patient's long axis.
    """
    shape = (*image.shape[:_DIMENSIONS], 1, 1, 1)[:_DIMENSIONS]
    return _axis((shape[0], shape[1], shape[2]), np.asarray(image.affine, np.float64))


def _axis(shape: tuple[int, int, int], affine: NDArray[np.float64]) -> int:
    flat = [axis for axis, size in enumerate(shape) if size == 1]
    if len(flat) == 1:
        return flat[0]
    steps = affine[:3, :3]
    lengths = np.linalg.norm(steps, axis=0)
    if not (np.isfinite(lengths).all() and lengths.all()):
        return 2
    if np.max(lengths) > _CLEARLY * np.sort(lengths)[1]:
        return int(np.argmax(lengths))
    return int(np.argmax(np.abs(steps[2]) / lengths))


@contextmanager
def open_nifti(path: str, wanted: Sequence[int], options: IngestOptions) -> Iterator[OpenedFile]:
    """The volume; the wanted slices are read, and unfolded, once."""
    with open_regular(path, options.max_file_bytes) as (file, size), unfolded(file) as stream:
        volume = read_header(stream, size, options)
        low, high = min(wanted), max(wanted) + 1
        if high > volume.frames:
            raise BadData(Reason.CORRUPT, "The volume has fewer slices than it had when it was found.")
        rows = [slice(None)] * _DIMENSIONS
        rows[volume.axis] = slice(low, high)
        slab = fileslice(  # type: ignore[no-untyped-call]  # nibabel does not annotate it
            stream, tuple(rows), volume.shape, volume.dtype, volume.offset, order="F"
        )
        spaced, turned = _geometry(volume)

        def frame(k: int) -> Frame:
            # A view: ``np.take`` copies against the grain of Fortran order, ten times slower.
            stored_HW = np.moveaxis(slab, volume.axis, 0)[k - low]
            native_HW = np.ascontiguousarray(stored_HW, dtype=volume.dtype.newbyteorder("="))
            return Frame(rescaled(native_HW, volume.slope, volume.intercept), spaced, turned)

        yield OpenedFile({"Description": volume.description} if volume.description else {}, frame)


@contextmanager
def unfolded(file: BufferedReader) -> Iterator[BufferedReader | gzip.GzipFile]:
    """The file as it stands, or what its gzip wrapping holds; from the start."""
    folded = file.read(2) == GZIP
    file.seek(0)
    if folded:
        with gzip.GzipFile(fileobj=file) as stream:
            yield stream
    else:
        yield file


def read_verified(file: BufferedReader, size: int, options: IngestOptions) -> Volume:
    """The header, where the file holds what it claims; of a gzip only after its checksum was found right.

    A gzip is unfolded for that once, in pieces: measured 0.6 ms of CPU a slice, 137 MB unfolded a second.
    """
    with unfolded(file) as stream:
        volume = read_header(stream, size, options)
        if isinstance(stream, gzip.GzipFile):
            while stream.read(_PIECE_BYTES):  # raises at the end where length or CRC-32 (RFC 1952) are wrong
                if stream.tell() > options.max_file_bytes:
                    most = options.max_file_bytes
                    detail = f"The gzip holds more than {most} bytes (ingest.max_file_bytes)."
                    raise BadData(Reason.TOO_LARGE, detail)
            _check_size(volume, stream.tell(), options)
    return volume


def read_header(stream: BufferedReader | gzip.GzipFile, size: int, options: IngestOptions) -> Volume:
    """The header, as far as it is believable for a file of ``size`` bytes; the stream stands at its start."""
    first = stream.read(4)
    kind: Any = Nifti2Header if first in _NIFTI2 else Nifti1Header  # Any: nibabel's headers are untyped
    header = kind(first + stream.read(kind.template_dtype.itemsize - len(first)), check=False)
    if bytes(header["magic"])[:3] not in _SINGLE:
        raise BadData(Reason.UNSUPPORTED, "The voxels are in a second file (.hdr and .img); save as .nii.")
    shape = header.get_data_shape()
    dtype = header.get_data_dtype()
    _check_layout(shape, dtype)
    padded = (*shape[:_DIMENSIONS], 1, 1, 1)
    slope, intercept = header.get_slope_inter()
    millimetres = _MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    affine = np.asarray(header.get_best_affine(), np.float64)
    volume = Volume(
        shape=(int(padded[0]), int(padded[1]), int(padded[2])),
        dtype=dtype,
        offset=int(header.get_data_offset()),
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        affine=affine * [[millimetres], [millimetres], [millimetres], [1.0]],
        oriented=bool(header["sform_code"] or header["qform_code"]),
        description=bytes(header["descrip"]).decode("latin-1").strip(" \0"),
    )
    _check_size(volume, size * _DEFLATE_MOST if isinstance(stream, gzip.GzipFile) else size, options)
    return volume


def _check_layout(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if any(extra > 1 for extra in shape[_DIMENSIONS:]):
        detail = f"The image has {len(shape)} dimensions {shape}; save each volume as a file of its own."
        raise BadData(Reason.UNSUPPORTED, detail)
    if not shape or any(size < 1 for size in shape):
        raise BadData(Reason.CORRUPT, f"The header gives the impossible dimensions {shape}.")
    if dtype.kind not in "iuf" or dtype.itemsize > _WIDEST_BYTES:
        raise BadData(Reason.UNSUPPORTED, f"Voxels of type {dtype} are not read; save as integers or floats.")


def _check_size(volume: Volume, most_bytes: int, options: IngestOptions) -> None:
    end = volume.offset + math.prod(volume.shape) * volume.dtype.itemsize
    if volume.offset < 0 or end > most_bytes:
        raise BadData(Reason.TRUNCATED, f"The header claims {end} bytes, more than the file can hold.")
    height, width = (size for axis, size in enumerate(volume.shape) if axis != volume.axis)
    check_pixels(height, width, options.max_pixels)
    if end > options.max_file_bytes:
        detail = f"The volume has {end} bytes; the limit is {options.max_file_bytes} (ingest.max_file_bytes)."
        raise BadData(Reason.TOO_LARGE, detail)


def _geometry(volume: Volume) -> tuple[tuple[float, float] | None, Display]:
    """Spacing and orientation of a slice: its rows run along the first remaining axis."""
    rows, columns = (axis for axis in range(_DIMENSIONS) if axis != volume.axis)
    down, right = volume.affine[:3, rows], volume.affine[:3, columns]
    spaced = spacing((float(np.linalg.norm(down)), float(np.linalg.norm(right))))
    if not volume.oriented or spaced is None:
        return spaced, Display()
    return spaced, display(down * _LPS_OF_RAS, right * _LPS_OF_RAS)
