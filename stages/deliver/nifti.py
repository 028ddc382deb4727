"""Volumes: the mask as NIfTI on the input's own grid, a NIfTI header's geometry untouched."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from typing import Any, Final

import nibabel as nib
import numpy as np

from stages.base import Reason
from stages.deliver.mend import mended_stack
from stages.deliver.planes import Plane, SegmentedFrame, Stack
from stages.deliver.product import PRODUCT, VERSION
from stages.ingest import volumes
from stages.ingest.affine import lengths
from stages.ingest.faults import BadData
from stages.ingest.files import open_regular
from stages.ingest.nifti import read_header
from stages.ingest.options import IngestOptions
from stages.ingest.sniff import GZIP, NIFTI2_BYTES
from stages.ingest.volume import Volume

NIFTI1_MOST: Final = 32767  # voxels along an axis
GZIP_LEVEL: Final = 4  # masks are almost empty: more gains nothing


def encode(
    path: str, results: Sequence[SegmentedFrame], limits: IngestOptions, *, largest: bool
) -> tuple[Stack, bytes]:
    """The planes of one file, mended, and its gzipped mask: same shape, sform and qform.

    Slices that are not among the results are empty.
    """
    volume, header, kind = _grid(path, limits)
    mask_DHW = np.zeros(volume.shape, np.uint8)
    by_frame_NHW = np.moveaxis(mask_DHW, volume.axis, 0)
    for result in results:
        if result.mask.shape != by_frame_NHW.shape[1:] or result.place.frame >= volume.frames:
            raise BadData(Reason.CORRUPT, "The volume has another shape than when it was segmented.")
    stack = mended_stack(_stack(volume, results), largest=largest)
    for plane in stack.planes:
        by_frame_NHW[plane.result.place.frame] = plane.result.mask.unpack()
    header.set_data_dtype(np.uint8)
    header["descrip"] = f"{PRODUCT} {VERSION} prostate mask".encode()
    header["cal_max"], header["cal_min"] = 1, 0
    # Without an affine of our own nibabel keeps both transforms and their codes as the header has them.
    image = kind(mask_DHW.reshape(header.get_data_shape()), None, header)
    return stack, gzip.compress(image.to_bytes(), GZIP_LEVEL, mtime=0)


def _stack(volume: Volume, results: Sequence[SegmentedFrame]) -> Stack:
    """The planes with their distances along the normal, not along a sheared axis."""
    area_mm2, distance_mm = volume.pixel_area_mm2, volume.slice_distance_mm
    orientation = _orientation(volume)
    planes = tuple(
        Plane(
            result,
            volume.spacing_mm,
            area_mm2,
            None if distance_mm is None else distance_mm * result.place.frame,
            position_mm=volume.affine[:3, volume.axis] * result.place.frame + volume.affine[:3, 3],
            orientation=orientation,
        )
        for result in results
    )
    known = area_mm2 is not None and distance_mm is not None
    lack = "" if known else "The source states no believable size of its voxels."
    tilt = _tilt_degrees(volume) if known and volume.oriented else None
    return Stack(
        results[0].stack, planes, distance_mm, tilt_degrees=tilt, lack=lack, note=volume.geometry_note
    )


def _orientation(volume: Volume) -> tuple[float, ...] | None:
    """Direction cosines of a row and of a column, in the axes of the affine."""
    if volume.spacing_mm is None or volume.slice_distance_mm is None:
        return None
    rows, columns = (volume.affine[:3, axis] for axis in volume.in_plane)
    return (*(columns / np.linalg.norm(columns)).tolist(), *(rows / np.linalg.norm(rows)).tolist())


def _tilt_degrees(volume: Volume) -> float:
    """The angle between the normal of the slices and the patient's long axis."""
    rows, columns = volume.in_plane
    normal = np.cross(volume.affine[:3, rows], volume.affine[:3, columns])
    return math.degrees(math.acos(min(1.0, abs(float(normal[2])) / float(np.linalg.norm(normal)))))


def _grid(path: str, limits: IngestOptions) -> tuple[Volume, Any, Any]:
    """The source's volume, and a NIfTI header of its geometry with the class of its images."""
    foreign = volumes.read_header(path, limits)
    if foreign is not None:
        return foreign, *_header_of(foreign)
    with open_regular(path, limits.max_file_bytes) as (file, size):
        stream = gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == GZIP else file
        volume = read_header(stream, size, limits)
        stream.seek(0)
        raw = stream.read(NIFTI2_BYTES)
    second = NIFTI2_BYTES in {int.from_bytes(raw[:4], "little"), int.from_bytes(raw[:4], "big")}
    kind: Any = nib.Nifti2Image if second else nib.Nifti1Image  # nibabel has types for neither
    return volume, kind.header_class(raw[: kind.header_class.sizeof_hdr], check=False), kind


def _header_of(volume: Volume) -> tuple[Any, Any]:
    """For a volume of another format, whose geometry goes into both transforms where it has directions."""
    kind: Any = nib.Nifti2Image if max(volume.shape) > NIFTI1_MOST else nib.Nifti1Image
    header = kind.header_class()
    header.set_data_shape(volume.shape)
    if volume.spacing_mm is not None:
        header.set_xyzt_units("mm")
        header.set_zooms(lengths(volume.affine))
    if volume.oriented:
        header.set_qform(volume.affine, 1)
        header.set_sform(volume.affine, 1)
    return header, kind
