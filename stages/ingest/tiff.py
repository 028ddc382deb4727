"""TIFF 6.0, BigTIFF and ImageJ stacks: every page is a frame.

tifffile reads what is stored as it is, or packed without loss; other pages are left to Pillow. Either way
bright means bright: where white is the least value, samples are reflected about what their bits can hold.
"""

from __future__ import annotations

import re
from io import BufferedReader
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from tifffile import COMPRESSION, PHOTOMETRIC, SAMPLEFORMAT, TiffFile, TiffPage

from stages.base import Reason
from stages.grid import Display
from stages.ingest.directories import count_pages
from stages.ingest.faults import BadData
from stages.ingest.opened import check_pixels
from stages.ingest.orientation import ORIENTATION, as_stored, upright
from stages.ingest.rescale import luminance, one_channel, reflected

TIFF_MAGIC: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# What tifffile decodes in all bit depths; pages of other compressions or colour spaces are left to Pillow.
_COMPRESSIONS: Final = frozenset(
    {COMPRESSION.NONE, COMPRESSION.DEFLATE, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.PACKBITS}
    | {COMPRESSION.LZW, COMPRESSION.ZSTD, COMPRESSION.ZSTD_DEPRECATED, COMPRESSION.LZMA}
)
_PHOTOMETRICS: Final = frozenset(
    {PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE}
)
_BYTES_A_PIXEL: Final = 64  # more samples than any image of a patient has


def read_page(stream: BufferedReader, index: int, most_pixels: int) -> tuple[NDArray[Any], Display]:
    """One page in one channel on its stored grid, and the way to stand it upright."""
    stream.seek(0)
    with TiffFile(stream, name="page") as tiff:
        page = tiff.pages.get(index)
        if not isinstance(page, TiffPage):
            raise BadData(Reason.CORRUPT, "The TIFF page has no directory of its own.")
        check_pixels(page.imagelength, page.imagewidth, most_pixels)
        if page.is_tiled:  # a tile may be larger than its page, and is unfolded whole
            check_pixels(page.tilelength, page.tilewidth, most_pixels)
        if page.nbytes > most_pixels * _BYTES_A_PIXEL:
            raise BadData(Reason.TOO_LARGE, f"A page has {page.samplesperpixel} samples a pixel.")
        if _hides_planes(page.description) and count_pages(stream, 1) == 1:
            detail = "The TIFF holds a stack behind a single page; save it as one page a plane."
            raise BadData(Reason.UNSUPPORTED, detail)
        turned = upright(page.tags.valueof(ORIENTATION))
        if page.compression in _COMPRESSIONS and page.photometric in _PHOTOMETRICS:
            return _grey(page.asarray(maxworkers=1), page), turned
        return as_stored(_by_pillow(stream, index, page), turned), turned


def _by_pillow(stream: BufferedReader, index: int, page: TiffPage) -> NDArray[Any]:
    """The page as Pillow shows it: upright, and inverted where it has up to 8 bits and white is zero."""
    stream.seek(0)
    try:
        with Image.open(stream, formats=("TIFF",)) as picture:
            picture.seek(index)
            grey_HW = one_channel(picture)
            shallow = picture.mode in ("1", "L")
    except (UnidentifiedImageError, SyntaxError):  # of the first page, and of a later one
        kind = getattr(page.compression, "name", "unknown")
        detail = (
            f"A TIFF page of {page.bitspersample} bits with {kind} compression is not read; save it with LZW."
        )
        raise BadData(Reason.UNSUPPORTED, detail) from None
    inverts = page.photometric == PHOTOMETRIC.MINISWHITE and not shallow
    return _black_is_zero(grey_HW, page) if inverts else grey_HW


def _black_is_zero(grey_HW: NDArray[Any], page: TiffPage) -> NDArray[Any]:
    """Reflected, for integers without a sign: nobody defines the white of others."""
    if page.sampleformat != SAMPLEFORMAT.UINT:
        return grey_HW
    ends = np.array([0, (1 << page.bitspersample) - 1])
    return reflected(grey_HW.view(f"u{grey_HW.itemsize}"), ends)


def _hides_planes(description: str) -> bool:
    """Whether planes follow the page without directories: huge ImageJ stacks, tifffile's truncated ones."""
    planes = re.search(r"^images=(\d+)", description, re.MULTILINE) if "ImageJ=" in description else None
    return '"truncated": true' in description or (planes is not None and int(planes[1]) > 1)


def _grey(pixels: NDArray[Any], page: TiffPage) -> NDArray[Any]:
    if pixels.dtype == np.bool_:
        pixels = pixels.view(np.uint8)
    if pixels.dtype.kind not in "iuf":
        raise BadData(Reason.UNSUPPORTED, f"Samples of type {pixels.dtype} are not read.")
    pixels = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
    if page.colormap is not None and page.photometric == PHOTOMETRIC.PALETTE:
        return luminance(np.moveaxis(page.colormap[:, pixels], 0, -1))
    axes = page.axes
    if axes == "SYX":
        pixels, axes = np.moveaxis(pixels, 0, -1), "YXS"
    if axes == "YXS":
        if page.photometric == PHOTOMETRIC.RGB:
            return luminance(pixels)
        pixels, axes = np.ascontiguousarray(pixels[..., 0]), "YX"
    if axes != "YX":
        raise BadData(Reason.UNSUPPORTED, f"A TIFF page with axes {axes} is not read.")
    return _black_is_zero(pixels, page) if page.photometric == PHOTOMETRIC.MINISWHITE else pixels
