"""DICOM frames: pixels by pydicom's decoders, values in modality units, geometry per frame.

The modality transformation (PS3.3 sections C.11.1 and C.7.6.16.2.9) is applied: it gives the quantity.
The VOI window is not: it is one reader's view, cuts values off, and differs between slices of a series;
preprocessing clips by percentile instead. MONOCHROME1 is inverted, colour becomes luminance, and padding
becomes NaN: it was never a quantity.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BufferedReader, BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import as_pixel_options
from pydicom.tag import BaseTag

from stages.base import Reason
from stages.batches import Frame
from stages.grid import Display
from stages.ingest.codecs import decoded
from stages.ingest.deidentify import DICOM_TAGS, of_dataset
from stages.ingest.elements import Parsed, Readable, parse
from stages.ingest.faults import BadData
from stages.ingest.files import open_regular
from stages.ingest.fragments import Fragments, check_frames, code_stream, find_fragments
from stages.ingest.functional import FUNCTIONAL_TAGS, has_modality_lut, orientation, rescale, spacing_mm
from stages.ingest.geometry import display
from stages.ingest.opened import OpenedFile, check_pixels
from stages.ingest.options import IngestOptions
from stages.ingest.padding import PADDING_TAGS, fitted, padding_span, storable, within, without
from stages.ingest.rescale import luminance, reflected, rescaled

_IN_MEMORY_BYTES: Final = 1 << 24  # parsing in memory is faster; larger files are read piece by piece
_PALETTE: Final = (0x00281101, 0x00281102, 0x00281103, 0x00281201, 0x00281202, 0x00281203)
_SEGMENTED_PALETTE: Final = (0x00281221, 0x00281222, 0x00281223)
_IMAGE_PIXEL: Final = (
    *(0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011),
    *(0x00280100, 0x00280101, 0x00280102, 0x00280103),
    *(0x7FE00001, 0x7FE00002),  # extended offset table and lengths
)
_TAGS: Final = tuple(
    BaseTag(tag)
    for tag in {
        *(*_IMAGE_PIXEL, *_PALETTE, *_SEGMENTED_PALETTE, *PADDING_TAGS),
        *(*FUNCTIONAL_TAGS, *DICOM_TAGS),
    }
)
_GREY: Final = ("MONOCHROME1", "MONOCHROME2")
_BITS_ALLOCATED: Final = (1, 8, 16, 32, 64)  # what pydicom unpacks
_REQUIRED: Final = ("rows", "columns", "samples_per_pixel", "bits_allocated", "photometric_interpretation")


@dataclass(frozen=True, slots=True)
class PixelHeader:
    """What describes the pixels, complete and within the limits; whether they are there is not known yet."""

    parsed: Parsed
    fragments: Fragments | None  # None: native pixel data
    decoder: Decoder
    pixels: dict[str, Any]  # pydicom's decoding options


@contextmanager
def open_dicom(path: str, options: IngestOptions) -> Iterator[OpenedFile]:
    """The file, its header read once for all its frames."""
    with open_regular(path, options.max_file_bytes) as (file, size):
        stream = BytesIO(file.read()) if size <= _IN_MEMORY_BYTES else file
        header = _header(stream, size, options)
        yield OpenedFile(of_dataset(header.parsed.dataset), partial(_frame, header))


def count_verified(file: BufferedReader, size: int, options: IngestOptions) -> int:
    """Number of Frames, where the pixel data holds as many; the file is refused as a whole where it does not.

    Costs one parse of the whole header and, for compressed pixels, two short reads for each item.
    """
    header = _header(file, size, options)
    count = int(header.pixels["number_of_frames"])
    if count < 1:
        raise BadData(Reason.CORRUPT, "The header claims a negative number of frames.")
    _geometry(header.parsed.dataset, 0)  # a damaged functional group spoils all frames
    if header.fragments is None:
        _check_length(header.parsed, header.pixels, count - 1)
    else:
        check_frames(header.parsed, header.fragments, header.pixels)
    return count


def _header(stream: Readable, size: int, options: IngestOptions) -> PixelHeader:
    parsed = parse(stream, size, _TAGS)
    if not parsed.syntax:
        raise BadData(Reason.CORRUPT, "The file names no transfer syntax.")
    decoder = get_decoder(parsed.syntax)
    pixels = as_pixel_options(
        parsed.dataset,
        transfer_syntax_uid=parsed.syntax,
        pixel_keyword=parsed.pixels.keyword,
        pixel_vr=parsed.pixels.vr,
    )
    missing = [name for name in _REQUIRED if pixels.get(name) is None]
    if missing:
        detail = f"The header lacks what describes its pixels: {', '.join(missing)}."
        raise BadData(Reason.CORRUPT, detail)
    check_pixels(pixels["rows"], pixels["columns"], options.max_pixels)
    _check_bits(pixels["bits_allocated"])
    fragments = find_fragments(parsed) if parsed.syntax.is_encapsulated else None
    return PixelHeader(parsed, fragments, decoder, pixels)


def _check_bits(allocated: int) -> None:
    if allocated in _BITS_ALLOCATED:
        return
    if allocated < 1:
        raise BadData(Reason.CORRUPT, f"The header allocates {allocated} bits for a sample.")
    detail = (
        f"The samples are packed into {allocated} bits each (Bits Allocated), which no decoder here unpacks; "
        "convert the file to 16 bits allocated."
    )
    raise BadData(Reason.UNSUPPORTED, detail)


def _frame(header: PixelHeader, frame: int) -> Frame:
    pixels, found = _stored(header, frame, header.pixels)
    dataset = header.parsed.dataset
    photometric = str(found["photometric_interpretation"])
    stored_HW = _grey(pixels, photometric, dataset)
    image_HW = _modality(stored_HW, dataset, frame)
    padding_HW = _padding(header, frame, stored_HW) if photometric in _GREY else None
    if photometric == "MONOCHROME1":
        ends = _ends(stored_HW, found, padding_HW)
        image_HW = reflected(image_HW, _modality(ends, dataset, frame))
    if padding_HW is not None:
        image_HW = without(image_HW, padding_HW)
    return Frame(image_HW, *_geometry(dataset, frame))


def _stored(header: PixelHeader, frame: int, options: dict[str, Any]) -> tuple[NDArray[Any], dict[str, Any]]:
    """The frame's samples as they are stored, and what describes them now."""
    parsed, fragments = header.parsed, header.fragments
    if fragments is not None:
        code = code_stream(parsed, fragments, frame, options)
        alone = {name: value for name, value in options.items() if name != "extended_offsets"}
        alone["number_of_frames"] = 1
        return decoded(header.decoder, code, alone)
    _check_length(parsed, options, frame)
    parsed.stream.seek(parsed.pixels.offset)
    return header.decoder.as_array(parsed.stream, index=frame, **options)


def _padding(header: PixelHeader, frame: int, stored_HW: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Which pixels are padding; None where the header states none."""
    options = header.pixels
    signed = options.get("pixel_representation") == 1
    span = padding_span(header.parsed.dataset, header.parsed.pixels.keyword, signed=signed)
    if span is None or not np.issubdtype(stored_HW.dtype, np.integer):
        return None if span is None else within(stored_HW, span)
    bits = options["bits_stored"]
    low, high = storable(bits, signed=signed)
    if low <= span[0] and span[1] <= high:
        return within(stored_HW, span)
    if header.fragments is None and options["bits_allocated"] == 8 * stored_HW.itemsize:
        # Beyond the bits stored: padding fills the whole cell, whose upper bits are ignored in pixels.
        cells, _ = _stored(header, frame, options | {"bits_stored": options["bits_allocated"]})
        return within(cells, span)
    return within(stored_HW, fitted(span, bits, signed=signed))


def _geometry(dataset: Dataset, frame: int) -> tuple[tuple[float, float] | None, Display]:
    cosines = orientation(dataset, frame)
    turned = Display() if cosines is None else display(cosines[3:], cosines[:3])
    return spacing_mm(dataset, frame), turned


def _check_length(parsed: Parsed, options: dict[str, Any], frame: int) -> None:
    """Refuse a frame of native pixel data (PS3.5 section 8) that lies behind the end."""
    bits = options["rows"] * options["columns"] * options["samples_per_pixel"] * options["bits_allocated"]
    full_bytes = math.ceil(bits * options["number_of_frames"] / 8)
    length = parsed.size if parsed.pixels.length is None else parsed.pixels.length
    if options["photometric_interpretation"] == "YBR_FULL_422":
        if length >= full_bytes:
            detail = "The pixel data is not subsampled as its photometric interpretation says."
            raise BadData(Reason.CORRUPT, detail)
        bits = bits // 3 * 2
    there = min(length, parsed.size - parsed.pixels.offset)
    if math.ceil(bits * (frame + 1) / 8) > there:
        raise BadData(Reason.TRUNCATED, "The pixel data ends before this frame does.")


def _grey(pixels: NDArray[Any], photometric: str, dataset: Dataset) -> NDArray[Any]:
    """One channel, in the machine's byte order."""
    if photometric == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
    pixels = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
    return luminance(pixels) if pixels.ndim == 3 else pixels  # noqa: PLR2004  (rows, columns, samples)


def _modality(stored_HW: NDArray[Any], dataset: Dataset, frame: int) -> NDArray[Any]:
    """Stored values as the modality's quantity."""
    if has_modality_lut(dataset):
        return apply_modality_lut(stored_HW.astype(np.int64), dataset)
    line = rescale(dataset, frame)
    return stored_HW if line is None else rescaled(stored_HW, *line)


def _ends(
    stored_HW: NDArray[Any], found: dict[str, Any], padding_HW: NDArray[np.bool_] | None
) -> NDArray[Any]:
    """The ends of what can be stored; of what is stored, for real numbers."""
    if not np.issubdtype(stored_HW.dtype, np.integer):
        usable_HW = np.isfinite(stored_HW) if padding_HW is None else np.isfinite(stored_HW) & ~padding_HW
        real = stored_HW[usable_HW]
        return np.array([real.min(), real.max()] if real.size else [0, 0], stored_HW.dtype)
    return np.array(
        storable(found["bits_stored"], signed=found["pixel_representation"] == 1), stored_HW.dtype
    )
