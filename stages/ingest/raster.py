"""PNG, JPEG, BMP, PNM, JPEG 2000 and TIFF pages as frames of one grey channel.

Colour becomes luminance, palettes are looked up, alpha is ignored. Spacing stays unknown: the resolution
tags of these formats speak of printing, not of the patient.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.base import Reason
from stages.batches import Frame
from stages.ingest.directories import count_pages
from stages.ingest.faults import BadData
from stages.ingest.files import open_regular
from stages.ingest.opened import OpenedFile, check_pixels
from stages.ingest.options import IngestOptions
from stages.ingest.rescale import luminance
from stages.ingest.tiff import TIFF_MAGIC, read_page

_FORMATS: Final = ("PNG", "JPEG", "BMP", "PPM", "JPEG2000")
_COLOURS: Final = ("RGB", "RGBA", "RGBX")
_GREYS: Final = ("L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")


@contextmanager
def open_raster(path: str, options: IngestOptions) -> Iterator[OpenedFile]:
    """The picture, or the pages of a TIFF."""
    with open_regular(path, options.max_file_bytes) as (file, _):
        paged = is_tiff(file)

        def frame(index: int) -> Frame:
            page_HW = read_page(file, index, options.max_pixels) if paged else None
            if page_HW is None:
                page_HW = _picture(file, index, ("TIFF",) if paged else _FORMATS, options.max_pixels)
            return Frame(page_HW, None)

        yield OpenedFile({}, frame)


def is_tiff(file: BufferedReader) -> bool:
    """Whether the file has pages."""
    file.seek(0)
    return file.read(4) in TIFF_MAGIC


def count_frames(file: BufferedReader, most: int) -> int:
    """How many frames the file has, no more than ``most`` and one; each page of a TIFF is verified."""
    return count_pages(file, most) if is_tiff(file) else 1


def _picture(file: BufferedReader, index: int, formats: tuple[str, ...], most: int) -> NDArray[Any]:
    file.seek(0)
    with Image.open(file, formats=formats) as picture:
        if picture.format == "PNG" and getattr(picture, "is_animated", False):
            raise BadData(Reason.UNSUPPORTED, "An animated PNG is not read; save its pictures one by one.")
        if index:
            picture.seek(index)
        check_pixels(picture.height, picture.width, most)
        return _grey(picture)


def _grey(picture: Image.Image) -> NDArray[Any]:
    if picture.mode in _GREYS:
        pixels = np.asarray(picture)
        return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
    if picture.mode == "1":
        return np.asarray(picture).astype(np.uint8)
    if picture.mode == "LA":
        return np.ascontiguousarray(np.asarray(picture)[..., 0])
    return luminance(np.asarray(picture if picture.mode in _COLOURS else picture.convert("RGB")))
