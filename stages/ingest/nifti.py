"""NIfTI-1 and NIfTI-2 volumes (nifti1.h, nifti2.h), plain or gzipped, read slice by slice.

The header alone is given to nibabel; its size claims are checked before anything is read or unfolded.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from typing import Any, Final

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.quaternions import fillpositive, quat2mat
from numpy.typing import NDArray

from stages.base import Reason
from stages.ingest.affine import TEMPLATE_CODES, Stated, reconciled
from stages.ingest.faults import BadData
from stages.ingest.files import open_regular
from stages.ingest.opened import OpenedFile
from stages.ingest.options import IngestOptions
from stages.ingest.purpose import is_ours
from stages.ingest.sniff import GZIP
from stages.ingest.volume import Volume, check_layout, check_size, padded_shape, slices
from stages.product import PRODUCT

_DEFLATE_MOST: Final = 1032  # bytes that one byte of deflate can unfold to (zlib, technical details)
_PIECE_BYTES: Final = 1 << 18
_NIFTI2: Final = (b"\x1c\2\0\0", b"\0\0\2\x1c")  # header size 540, in either byte order
_SINGLE: Final = (b"n+1", b"n+2")
_LABELS: Final = (1002, 1003)  # nifti1.h, NIFTI_INTENT_LABEL and NIFTI_INTENT_NEURONAME
_MILLIMETRES: Final = {1: 1000.0, 3: 0.001}  # xyzt_units: metre, micron; all others are millimetres


def header_of(path: str, options: IngestOptions) -> Volume:
    """What the header of a NIfTI file says, and so how ingest cuts it. Raises BadData."""
    with open_regular(path, options.max_file_bytes) as (file, size), unfolded(file) as stream:
        return read_header(stream, size, options)


@contextmanager
def open_nifti(path: str, wanted: Sequence[int], options: IngestOptions) -> Iterator[OpenedFile]:
    """The volume; the wanted slices are read, and unfolded, once."""
    with open_regular(path, options.max_file_bytes) as (file, size), unfolded(file) as stream:
        volume = read_header(stream, size, options)
        frame = slices(volume, stream, wanted)
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
        if is_ours(volume.description):
            raise BadData(Reason.NOT_TO_SEGMENT, f"The volume is a result of {PRODUCT}.")
        if volume.labels:
            raise BadData(
                Reason.NOT_TO_SEGMENT, "The volume is a map of labels by its intent code, no image."
            )
        if isinstance(stream, gzip.GzipFile):
            while stream.read(_PIECE_BYTES):  # raises at the end where length or CRC-32 (RFC 1952) are wrong
                if stream.tell() > options.max_file_bytes:
                    most = options.max_file_bytes
                    detail = f"The gzip holds more than {most} bytes (ingest.max_file_bytes)."
                    raise BadData(Reason.TOO_LARGE, detail)
            check_size(volume, stream.tell(), options)
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
    check_layout(shape, dtype)
    slope, intercept = header.get_slope_inter()
    geometry = reconciled(_stated(header, padded_shape(shape)))
    volume = Volume(
        shape=padded_shape(shape),
        dtype=dtype,
        offset=_offset(int(header.get_data_offset()), kind.single_vox_offset),
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        affine=geometry.affine,
        oriented=geometry.oriented,
        description=bytes(header["descrip"]).decode("latin-1").strip(" \0"),
        known=geometry.known,
        geometry_note=geometry.note,
        labels=int(header["intent_code"]) in _LABELS,
    )
    check_size(volume, size * _DEFLATE_MOST if isinstance(stream, gzip.GzipFile) else size, options)
    return volume


def _offset(stated: int, least: int) -> int:
    """Some writers leave 0, but no voxel lies in the header (nifti1.h). A negative one is refused later."""
    return max(stated, least) if stated >= 0 else stated


def _stated(header: Any, shape: tuple[int, int, int]) -> Stated:
    millimetres = _MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    scale = np.array([[millimetres], [millimetres], [millimetres], [1.0]])
    code = int(header["sform_code"])
    fields = (header[f"srow_{row}"] for row in "xyz")
    sform = np.array([*fields, [0, 0, 0, 1]], np.float64) * scale
    offset = np.array([header[f"qoffset_{row}"] for row in "xyz"], np.float64) * millimetres
    return Stated(
        steps_mm=np.asarray(header["pixdim"][1:4], np.float64) * millimetres,
        flat=(shape[0] == 1, shape[1] == 1, shape[2] == 1),
        sform=sform if code > 0 else None,
        rotation=_rotation(header) if int(header["qform_code"]) > 0 else None,
        offset=offset,
        template=code in TEMPLATE_CODES,
    )


def _rotation(header: Any) -> NDArray[np.float64]:
    """The qform without the voxel's edges; not finite where its quaternion is none."""
    vector = np.array([header[f"quatern_{part}"] for part in "bcd"], np.float64)
    try:
        whole = fillpositive(vector, header.quaternion_threshold)  # type: ignore[no-untyped-call]
        turn = quat2mat(whole)  # type: ignore[no-untyped-call]
    except ValueError:
        return np.full((3, 3), np.nan)
    return np.asarray(turn * [1.0, 1.0, -1.0 if header["pixdim"][0] < 0 else 1.0])
