"""A DICOM file's elements up to its pixels, parsed by pydicom, read here as raw values.

Raw, because validating and converting an element costs more than parsing it, and because a hostile
value must become "unknown" rather than an exception. Values: PS3.5 section 6.2; byte order of the file.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from struct import calcsize, unpack
from typing import Final, Literal

from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from stages.base import Reason
from stages.ingest.faults import BadData
from stages.ingest.purpose import Declared, why_no_slice, why_no_source

Readable = BytesIO | BufferedReader

_PREAMBLE_BYTES: Final = 132  # 128 and "DICM"
_META_GROUP: Final = 0x0002
_MEDIA_CLASS: Final = BaseTag(0x00020002)
_TRANSFER_SYNTAX: Final = BaseTag(0x00020010)
_SOP_CLASS: Final = BaseTag(0x00080016)
_ENCRYPTED_ATTRIBUTES: Final = BaseTag(0x04000500)
_PURPOSE: Final = {  # what an object says of itself, by the names of ``Declared``
    "image_type": BaseTag(0x00080008),
    "modality": BaseTag(0x00080060),
    "manufacturer": BaseTag(0x00080070),
    "conversion": BaseTag(0x00080064),
}
_UNFOLDED_BYTES: Final = 1 << 29  # a deflated dataset is held in memory whole
_UNDEFINED: Final = 0xFFFFFFFF
# PS3.5 table 6.2-1, and a comma for the point, as writers in many countries leave it.
_DECIMAL: Final = re.compile(r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?")
_PIXELS: Final = {
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
    0x7FE00010: "PixelData",
}


@dataclass(frozen=True, slots=True)
class Pixels:
    """Where the pixel element's value lies in its stream."""

    keyword: str
    vr: str
    offset: int
    length: int | None  # None: of undefined length, encapsulated in fragments


@dataclass(frozen=True, slots=True)
class Parsed:
    """The wanted elements, and the pixels behind them."""

    dataset: Dataset
    syntax: UID  # empty where the file names none
    pixels: Pixels
    stream: Readable  # what ``pixels.offset`` counts in: the file, or what a deflated file unfolds to
    size: int


def parse(stream: Readable, size: int, tags: Sequence[int]) -> Parsed:
    """The wanted elements of the file; what has no pixels, or is no image to segment, is refused."""
    stream.seek(0)
    if stream.read(_PREAMBLE_BYTES)[-4:] != b"DICM":
        stream.seek(0)
    walk = _Walk(stream, lambda tag: tag.group != _META_GROUP)
    meta = read_dataset(stream, False, True, stop_when=walk, specific_tags=[_MEDIA_CLASS, _TRANSFER_SYNTAX])
    syntax = UID(text(meta, _TRANSFER_SYNTAX))
    if syntax == DeflatedExplicitVRLittleEndian:
        stream, size = _inflated(stream)
    implicit, little = _encoding(syntax, stream)
    wanted: list[BaseTag | int] = [_SOP_CLASS, _ENCRYPTED_ATTRIBUTES, *_PURPOSE.values(), *tags]
    walk = _Walk(stream, _PIXELS.__contains__, walk.end)
    try:
        dataset = read_dataset(stream, implicit, little, stop_when=walk, specific_tags=wanted)
    except OSError as error:  # how pydicom meets the end inside a sequence
        if error.errno is not None or stream.tell() < size:
            raise
        raise BadData(Reason.TRUNCATED, "The file ends inside a sequence of its header.") from error
    pixels = _pixels(stream, dataset)
    cut = pixels is None and walk.end not in (None, size)
    _check_purpose(meta, dataset, cut or pixels is not None)
    if pixels is None:
        raise BadData(*_without_pixels(dataset, cut))
    return Parsed(dataset, syntax, pixels, stream, size)


class _Walk:
    """Stops pydicom's parser, and remembers where the element before ends if that is known.

    In a whole file that is the end of the file; else the file is cut inside a value or a tag.
    """

    def __init__(self, stream: Readable, stop: Callable[[BaseTag], bool], end: int | None = None) -> None:
        self._stop, self._tell = stop, stream.tell
        self.end = end

    def __call__(self, tag: BaseTag, _vr: str | None, length: int) -> bool:
        if self._stop(tag):
            return True
        self.end = None if length == _UNDEFINED else self._tell() + length
        return False


def _encoding(syntax: str, stream: Readable) -> tuple[bool, bool]:
    """Implicit VR and little endian; guessed from the first element where no syntax is named."""
    if syntax:
        return syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    start = stream.tell()
    first = stream.read(6)
    stream.seek(start)
    explicit = first[4:].isalpha() and first[4:].isupper()
    return not explicit, not (explicit and first.startswith(b"\0"))


def _inflated(stream: Readable) -> tuple[BytesIO, int]:
    """The dataset of a deflated file (PS3.5 annex A.5), unfolded no further than the limit."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    body = inflater.decompress(stream.read(), _UNFOLDED_BYTES)
    if inflater.unconsumed_tail:
        raise BadData(Reason.TOO_LARGE, f"The deflated file unfolds to more than {_UNFOLDED_BYTES} bytes.")
    if not inflater.eof:
        raise BadData(Reason.TRUNCATED, "The deflated file ends before its content does.")
    return BytesIO(body), len(body)


def _pixels(stream: Readable, dataset: Dataset) -> Pixels | None:
    """The pixel element that the parser stopped before (PS3.5 section 7.1), if there is one."""
    implicit, little = dataset.original_encoding
    order = "<" if little else ">"
    head = stream.read(4)
    if len(head) < calcsize("HH"):
        return None
    group, element = unpack(order + "HH", head)
    keyword = _PIXELS.get(group << 16 | element)
    if keyword is None:
        return None
    # Explicit: the VR and two reserved bytes come before the length (PS3.5 table 7.1-1).
    vr = "OW" if implicit else stream.read(4)[:2].decode("latin-1")
    (length,) = unpack(order + "L", stream.read(4))
    return Pixels(keyword, vr, stream.tell(), None if length == _UNDEFINED else length)


def _check_purpose(meta: Dataset, dataset: Dataset, pixels: bool) -> None:
    media = text(meta, _MEDIA_CLASS)
    sop_class = media if media == MediaStorageDirectoryStorage else text(dataset, _SOP_CLASS) or media
    fields = {name: text(dataset, tag) for name, tag in _PURPOSE.items()}
    stated = Declared(sop_class, **fields, pixels=pixels)
    if why := why_no_source(stated):
        raise BadData(Reason.NOT_TO_SEGMENT, why)
    if why := why_no_slice(stated):
        raise BadData(Reason.UNSUPPORTED, why)


def _without_pixels(dataset: Dataset, cut: bool) -> tuple[Reason, str]:
    if cut:
        return Reason.TRUNCATED, "The file ends before its pixel data."
    if _ENCRYPTED_ATTRIBUTES in dataset:
        return Reason.ENCRYPTED, "The object holds encrypted attributes and no pixel data."
    kind = UID(text(dataset, _SOP_CLASS))
    known = f" ({kind.name})" if kind.type else ""  # a registered name, never a value of the file
    return Reason.NO_PIXELS, f"The DICOM object{known} has no pixel data."


def text(dataset: Dataset, tag: int) -> str:
    """A value as text without its padding, several separated by backslashes; empty where it is missing."""
    element = dataset.get_item(tag)
    value = None if element is None else element.value
    if isinstance(value, bytes):
        return value.decode("latin-1").strip(" \0")
    if isinstance(value, MultiValue | list | tuple):  # as pydicom converts it when it is looked at
        return "\\".join(map(str, value))
    return "" if value is None else str(value)


def integer(dataset: Dataset, tag: int) -> int | None:
    """An unsigned 16-bit value (US); None where it is missing or of another size."""
    value = _held(dataset, tag, "H")
    return value if isinstance(value, int) else None


def real(dataset: Dataset, tag: int, kind: Literal["f", "d"]) -> float | None:
    """A binary real number (FL or FD); None where it is missing or of another size."""
    value = _held(dataset, tag, kind)
    return value if isinstance(value, float) else None


def _held(dataset: Dataset, tag: int, kind: str) -> object:
    """A binary value as ``struct`` reads this kind, or as pydicom has converted it; else None."""
    element = dataset.get_item(tag)
    value = None if element is None else element.value
    if not isinstance(value, bytes):
        return value
    order = ("<" if getattr(element, "is_little_endian", True) else ">") + kind
    return unpack(order, value)[0] if len(value) == calcsize(order) else None


def numbers(dataset: Dataset, tag: int, count: int) -> tuple[float, ...] | None:
    """Decimal strings (DS, IS); None unless there are ``count`` of them, all finite."""
    parts = [part.strip(" \0\t\r\n") for part in text(dataset, tag).split("\\")]
    if len(parts) != count or not all(map(_DECIMAL.fullmatch, parts)):
        return None
    values = tuple(float(part.replace(",", ".")) for part in parts)
    return values if all(map(math.isfinite, values)) else None
