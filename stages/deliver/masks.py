"""Mask files: for each source what its reader expects, on the source's own grid.

A DICOM stack gets a DICOM Segmentation; where that cannot be, its masks go, page by page, into ``mask.tif``.
NIfTI gets ``NAME_mask.nii.gz`` with the input's shape and affine. A raster gets ``NAME_mask.png``, one of
several pages ``NAME_mask.tif``; there 0 is outside and 255 the structure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import SOFTWARE

from stages.deliver import dicom, nifti, seg
from stages.deliver.caveats import Caveat, Flag, has, of_stack
from stages.deliver.mend import mended_stack
from stages.deliver.names import stem
from stages.deliver.options import DeliverOptions
from stages.deliver.planes import Plane, SegmentedFrame, Stack, by_file
from stages.deliver.product import MADE_BY
from stages.ingest.faults import BadData, reading
from stages.ingest.options import IngestOptions
from stages.places import FileKind

Failed = dict[bytes, str]  # key to the sentence why it was not delivered


@dataclass(frozen=True, slots=True)
class MaskFile:
    """One file to write, the planes it holds and what was found of them."""

    name: str
    stack: Stack
    caveats: tuple[Caveat, ...]
    data: bytes
    why: str = ""  # it is not the format that the source asks for


@dataclass(frozen=True, slots=True)
class MaskMaker:
    """Makes the mask files of one stack after the other."""

    options: DeliverOptions
    limits: IngestOptions
    model: str
    largest: bool  # whether stray objects go

    def of(self, rows: Sequence[SegmentedFrame], failed: Failed) -> Iterator[MaskFile]:
        """Each kind of source gets the file that its reader expects; what has none is added to ``failed``."""
        of_kind = {kind: [row for row in rows if row.place.kind is kind] for kind in FileKind}
        if of_kind[FileKind.DICOM]:
            yield from self._of_dicom(of_kind[FileKind.DICOM], failed)
        yield from self._of_nifti(of_kind[FileKind.NIFTI], failed)
        yield from self._of_raster(of_kind[FileKind.RASTER])

    def _of_dicom(self, rows: Sequence[SegmentedFrame], failed: Failed) -> Iterator[MaskFile]:
        read, unreadable = dicom.read_stack(rows)
        failed |= unreadable
        if not read.planes:
            return
        stack = mended_stack(read, largest=self.largest)
        caveats = of_stack(stack, self.options)
        why = next((one.text for one in caveats if one.flag is Flag.OUT_OF_SCOPE), stack.lack)
        if why:
            yield MaskFile("mask.tif", stack, caveats, pages(stack.planes), why)
            return
        marked = has(caveats, Flag.OUT_OF_DISTRIBUTION)
        try:
            data = seg.encode(stack, self.options.series_number, self.model, marked=marked)
        except seg.CannotSegment as cannot:
            yield MaskFile("mask.tif", stack, caveats, pages(stack.planes), str(cannot))
        else:
            yield MaskFile("seg.dcm", stack, caveats, data)

    def _of_nifti(self, rows: Sequence[SegmentedFrame], failed: Failed) -> Iterator[MaskFile]:
        taken: set[str] = set()
        for path, results in by_file(rows).items():
            try:
                with reading():
                    stack, data = nifti.encode(path, results, self.limits, largest=self.largest)
            except BadData as bad:
                failed |= {
                    row.key: f"The source cannot be read again. {bad.refusal.detail}" for row in results
                }
                continue
            name = unique(f"{stem(path)}_mask", ".nii.gz", taken)
            yield MaskFile(name, stack, of_stack(stack, self.options), data)

    def _of_raster(self, rows: Sequence[SegmentedFrame]) -> Iterator[MaskFile]:
        taken: set[str] = set()
        in_order = sorted(rows, key=lambda row: row.place.frame)  # page by page, as the source
        for path, results in by_file(in_order).items():
            lack = "A picture states no geometry."
            # Pages need not be neighbours: each is mended alone.
            ones = (Stack(row.stack, (Plane(row),)) for row in results)
            mended = (mended_stack(one, largest=self.largest) for one in ones)
            planes = tuple(plane for one in mended for plane in one.planes)
            stack = Stack(results[0].stack, planes, lack=lack)
            several = len(results) > 1 or results[0].place.frame > 0
            data = pages(stack.planes) if several else png(stack.planes[0])
            name = unique(f"{stem(path)}_mask", ".tif" if several else ".png", taken)
            yield MaskFile(name, stack, of_stack(stack, self.options), data)


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
