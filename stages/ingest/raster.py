"""PNG, JPEG, WebP, BMP, PNM, JPEG 2000 and TIFF pages as frames of one grey channel.

Frames stand as they are stored; their ``display`` turns them upright. Colour becomes luminance, palettes are
looked up, alpha is ignored. Spacing stays unknown: the resolution tags of these formats speak of printing,
not of the patient.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import Any, Final

from numpy.typing import NDArray
from PIL import Image

from stages.base import Reason
from stages.batches import Frame
from stages.grid import Display
from stages.ingest.directories import count_pages, software
from stages.ingest.faults import BadData
from stages.ingest.files import open_regular
from stages.ingest.opened import OpenedFile, check_pixels
from stages.ingest.options import IngestOptions
from stages.ingest.orientation import orientation_of
from stages.ingest.purpose import is_ours
from stages.ingest.rescale import one_channel
from stages.ingest.tiff import TIFF_MAGIC, read_page
from stages.product import PRODUCT

_FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "PPM", "JPEG2000")
_HEAD_BYTES: Final = 1 << 12
# A text chunk (PNG 3rd edition, 11.3.3.2) before the first chunk of pixels.
_PNG_SOFTWARE: Final = re.compile(rb"\x89PNG(?:(?!IDAT).)*?tEXtSoftware\0([\x20-\xff]{1,80})", re.DOTALL)


@contextmanager
def open_raster(path: str, options: IngestOptions) -> Iterator[OpenedFile]:
    """The picture, or the pages of a TIFF."""
    with open_regular(path, options.max_file_bytes) as (file, _):
        paged = is_tiff(file)

        def frame(index: int) -> Frame:
            read = read_page if paged else _picture
            image_HW, turned = read(file, index, options.max_pixels)
            return Frame(image_HW, None, turned)

        yield OpenedFile({}, frame)


def is_tiff(file: BufferedReader) -> bool:
    """Whether the file has pages."""
    file.seek(0)
    return file.read(4) in TIFF_MAGIC


def count_frames(file: BufferedReader, most: int) -> int:
    """How many frames the file has, no more than ``most`` and one; each page of a TIFF is verified."""
    if is_ours(made_by(file)):
        raise BadData(Reason.NOT_TO_SEGMENT, f"The picture is a result of {PRODUCT}.")
    return count_pages(file, most) if is_tiff(file) else 1


def made_by(file: BufferedReader) -> str:
    """The software that a TIFF or the head of a PNG names; empty where it names none."""
    if is_tiff(file):
        return software(file)
    file.seek(0)
    found = _PNG_SOFTWARE.match(file.read(_HEAD_BYTES))
    return found[1].decode("latin-1") if found else ""


def _picture(file: BufferedReader, _index: int, most: int) -> tuple[NDArray[Any], Display]:
    file.seek(0)
    with Image.open(file, formats=_FORMATS) as picture:
        if getattr(picture, "is_animated", False):
            detail = f"An animated {picture.format} is not read; save its pictures one by one."
            raise BadData(Reason.UNSUPPORTED, detail)
        check_pixels(picture.height, picture.width, most)
        return one_channel(picture), orientation_of(picture)
