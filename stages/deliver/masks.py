"""Mask files: for each source what its reader expects, on the source's own grid.

DICOM gets DICOM Segmentations; what these cannot hold goes, page by page, into ``mask.tif``. NIfTI gets
``NAME_mask.nii.gz`` with the input's shape and affine. A raster gets ``NAME_mask.png``, one of several
pages ``NAME_mask.tif``; there 0 is outside and 255 the structure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import SOFTWARE

from stages.deliver import dicom, nifti, seg
from stages.deliver.names import stem
from stages.deliver.planes import Plane, SegmentedFrame, Stack, by_file
from stages.deliver.product import MADE_BY
from stages.ingest.faults import BadData, reading
from stages.ingest.options import IngestOptions

Failed = dict[bytes, str]  # key to the sentence why it was not delivered
Clean = Callable[
    [Sequence[SegmentedFrame]], list[SegmentedFrame]
]  # the slices of one volume, mended as a whole


@dataclass(frozen=True, slots=True)
class MaskFile:
    """One file to write and the planes it holds."""

    name: str
    stack: Stack
    data: bytes
    why: str = ""  # it is not the format that the source asks for


def of_dicom(
    results: Sequence[SegmentedFrame],
    series_number: int,
    model: str,
    failed: Failed,
    clean: Clean | None = None,
) -> Iterator[MaskFile]:
    """``seg.dcm``, ``seg_2.dcm`` and so on, largest first, and ``mask.tif`` for the rest."""
    planes, unreadable = dicom.read_planes(results)
    failed |= unreadable
    rest: list[Plane] = []
    whys: set[str] = set()
    number = 0
    for found in dicom.stacks(planes):
        stack = (
            found if clean is None else found.with_results(clean([plane.result for plane in found.planes]))
        )
        try:
            data = seg.encode(stack, series_number, number + 1, model)
        except seg.CannotSegment as cannot:
            rest.extend(stack.planes)
            whys.add(str(cannot))
            continue
        number += 1
        yield MaskFile("seg.dcm" if number == 1 else f"seg_{number}.dcm", stack, data)
    if rest:
        yield MaskFile("mask.tif", Stack(tuple(rest)), pages(rest), " ".join(sorted(whys)))


def of_nifti(
    results: Sequence[SegmentedFrame], limits: IngestOptions, failed: Failed, clean: Clean | None = None
) -> Iterator[MaskFile]:
    """``NAME_mask.nii.gz`` for each source."""
    taken: set[str] = set()
    for path, rows in by_file(results).items():
        try:
            with reading():
                stack, data = nifti.encode(path, rows if clean is None else clean(rows), limits)
        except BadData as bad:
            failed |= {row.key: f"The source cannot be read again. {bad.refusal.detail}" for row in rows}
            continue
        yield MaskFile(unique(f"{stem(path)}_mask", ".nii.gz", taken), stack, data)


def of_raster(results: Sequence[SegmentedFrame]) -> Iterator[MaskFile]:
    """One file for each source, of one page or several."""
    taken: set[str] = set()
    for path, rows in by_file(results).items():
        planes = tuple(Plane(row) for row in rows)
        several = len(rows) > 1 or rows[0].place.frame > 0
        data = pages(planes) if several else png(planes[0])
        yield MaskFile(
            unique(f"{stem(path)}_mask", ".tif" if several else ".png", taken), Stack(planes), data
        )


def unique(name: str, suffix: str, taken: set[str]) -> str:
    """The name, numbered where the folder holds it already."""
    number, full = 1, name + suffix
    while full in taken:
        number += 1
        full = f"{name}_{number}{suffix}"
    taken.add(full)
    return full


def png(plane: Plane) -> bytes:
    """The mask as an 8-bit grey PNG, 0 and 255."""
    stream = BytesIO()
    made_by = PngInfo()
    made_by.add_text("Software", MADE_BY)
    _picture(plane).save(stream, "PNG", compress_level=3, pnginfo=made_by)
    return stream.getvalue()


def pages(planes: Sequence[Plane]) -> bytes:
    """Masks as the pages of a TIFF, in order, each of its own size."""
    stream = BytesIO()
    first, *others = (_picture(plane) for plane in planes)
    tags = {SOFTWARE: MADE_BY}
    first.save(stream, "TIFF", save_all=True, append_images=others, compression="tiff_deflate", tiffinfo=tags)
    return stream.getvalue()


def _picture(plane: Plane) -> Image.Image:
    return Image.fromarray(plane.result.mask.unpack() * np.uint8(255))
