"""Encapsulated pixel data (PS3.5 annex A.4): one frame's code stream, and whether it can be trusted.

Decoders paint what a cut code stream lacks in grey and report success, and allocate what a code stream
claims whatever the header says; both are found here, before they are asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import unpack, unpack_from
from typing import Any, Final

from pydicom.encaps import encapsulate, get_frame, parse_fragments
from pydicom.uid import RLELossless

from stages.base import Reason
from stages.ingest.elements import Parsed
from stages.ingest.faults import BadData

_ITEM_BYTES: Final = 8  # an item's tag and length, and the sequence delimiter
_J2K_START: Final = b"\xff\x4f\xff\x51"
_JPEG_START: Final = b"\xff\xd8"
_END: Final = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
# ITU-T T.81 table B.1: start of frame, all but DHT, JPG and DAC; 0xF7 is JPEG-LS (T.87).
_SOF: Final = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})


@dataclass(frozen=True, slots=True)
class Fragments:
    """Where the items stand in the stream, the offset table's first, and whether the file ends in them."""

    offsets: tuple[int, ...]
    cut: bool


def find_fragments(parsed: Parsed) -> Fragments:
    """Walk the items; the file is cut where it has no room for the last and the delimiter behind it."""
    parsed.stream.seek(parsed.pixels.offset)
    _, offsets = parse_fragments(parsed.stream)
    if not offsets:
        return Fragments((), cut=True)
    parsed.stream.seek(offsets[-1] + _ITEM_BYTES - 4)
    (length,) = unpack("<L", parsed.stream.read(4))
    return Fragments(tuple(offsets), offsets[-1] + _ITEM_BYTES + length + _ITEM_BYTES > parsed.size)


def code_stream(parsed: Parsed, fragments: Fragments, frame: int, options: dict[str, Any]) -> bytes:
    """One frame's code stream, encapsulated alone, if it is whole and as large as the header says."""
    single = parsed.syntax == RLELossless  # one fragment a frame, PS3.5 annex A.4.2
    if single or len(fragments.offsets) - 1 == options["number_of_frames"]:
        code = _fragment(parsed, fragments, frame)
    else:
        code = _frame(parsed, fragments, frame, options)
    if not code:
        raise BadData(Reason.CORRUPT, "The compressed frame has no bytes.")
    claimed, header = _claimed_shape(code), (options["rows"], options["columns"])
    if claimed not in (None, header):
        detail = f"The compressed frame is {claimed} pixels, the header says {header}."
        raise BadData(Reason.CORRUPT, detail)
    return encapsulate([code], has_bot=False)


def _fragment(parsed: Parsed, fragments: Fragments, frame: int) -> bytes:
    if frame + 1 >= len(fragments.offsets):
        raise BadData(Reason.TRUNCATED, "The file ends before this frame.")
    parsed.stream.seek(fragments.offsets[frame + 1] + _ITEM_BYTES - 4)
    (length,) = unpack("<L", parsed.stream.read(4))
    code = parsed.stream.read(length)
    if len(code) < length:
        raise BadData(Reason.TRUNCATED, "The file ends in the middle of this frame.")
    return code


def _frame(parsed: Parsed, fragments: Fragments, frame: int, options: dict[str, Any]) -> bytes:
    """A frame of several fragments, by the offset tables or by where code streams end."""
    parsed.stream.seek(parsed.pixels.offset)
    try:
        code = get_frame(
            parsed.stream,
            frame,
            extended_offsets=options.get("extended_offsets"),
            number_of_frames=options["number_of_frames"],
        )
    except (ValueError, StopIteration):
        if fragments.cut:
            raise BadData(Reason.TRUNCATED, "The file ends before this frame.") from None
        raise
    if fragments.cut and not code.rstrip(b"\0").endswith(_END):
        raise BadData(Reason.TRUNCATED, "The file ends in the middle of this frame.")
    return code


def _claimed_shape(code: bytes) -> tuple[int, int] | None:
    """Height and width as the code stream itself has them; None where it does not say."""
    if code.startswith(_J2K_START) and len(code) >= 24:  # noqa: PLR2004  (SIZ, ITU-T T.800 A.5.1)
        right, bottom, left, top = unpack_from(">4L", code, 8)
        return bottom - top, right - left
    if not code.startswith(_JPEG_START):
        return None
    at = 2
    while at + 9 <= len(code) and code[at] == 0xFF:  # noqa: PLR2004  (each marker segment, T.81 B.1.1)
        marker, length, _, height, width = unpack_from(">xBHBHH", code, at)
        if marker in _SOF:
            return (height, width) if height else None  # 0: a DNL segment tells after the first scan
        at += 2 + length
    return None
