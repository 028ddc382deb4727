"""TIFF 6.0, BigTIFF and ImageJ stacks through tifffile: every page is a frame."""

from __future__ import annotations

import re
from io import BufferedReader
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile, TiffPage

from stages.base import Reason
from stages.ingest.directories import count_pages
from stages.ingest.faults import BadData
from stages.ingest.opened import check_pixels
from stages.ingest.rescale import luminance, reflected

TIFF_MAGIC: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# What tifffile decodes by itself; pages of other compressions or colour spaces are left to Pillow.
_COMPRESSIONS: Final = frozenset(
    {COMPRESSION.NONE, COMPRESSION.DEFLATE, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.PACKBITS}
)
_PHOTOMETRICS: Final = frozenset(
    {PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE}
)
_BYTES_A_PIXEL: Final = 64  # more samples than any image of a patient has


def read_page(stream: BufferedReader, index: int, most_pixels: int) -> NDArray[Any] | None:
    """One page in one channel; None where tifffile alone does not decode it."""
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
        if page.compression not in _COMPRESSIONS or page.photometric not in _PHOTOMETRICS:
            return None
        return _grey(page.asarray(maxworkers=1), page)


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
        colour = page.photometric == PHOTOMETRIC.RGB
        return luminance(pixels) if colour else np.ascontiguousarray(pixels[..., 0])
    if axes != "YX":
        raise BadData(Reason.UNSUPPORTED, f"A TIFF page with axes {axes} is not read.")
    if page.photometric == PHOTOMETRIC.MINISWHITE and pixels.dtype.kind == "u":
        return reflected(pixels, np.array([0, (1 << page.bitspersample) - 1], pixels.dtype))
    return pixels
