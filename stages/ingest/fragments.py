"""Encapsulated pixel data (PS3.5 annex A.4): one frame's code stream, and whether it can be trusted.

Decoders paint what a cut code stream lacks in grey and report success, and allocate what a code stream
claims whatever the header says; both are found here, before they are asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from struct import unpack, unpack_from
from typing import Any, Final, NamedTuple

from pydicom.encaps import encapsulate, get_frame, parse_basic_offsets
from pydicom.uid import JPEGTransferSyntaxes, RLELossless

from stages.base import Reason
from stages.ingest.elements import Parsed
from stages.ingest.faults import BadData

_ITEM_BYTES: Final = 8  # an item's tag and length, and the sequence delimiter
_ITEM: Final = b"\xfe\xff\x00\xe0"
_DELIMITER: Final = b"\xfe\xff\xdd\xe0"
_UNDEFINED: Final = 0xFFFFFFFF
_MOST_ITEMS: Final = 1 << 20  # what bounds the memory for a file of empty items
_TAIL_BYTES: Final = 10  # of an item, where pydicom looks for the end of a code stream too
_J2K_START: Final = b"\xff\x4f\xff\x51"
_JP2_START: Final = b"\0\0\0\x0c"  # JPEG 2000 in its own file format, as some writers leave it
_JPEG_START: Final = b"\xff\xd8"
_END: Final = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
# ITU-T T.81 table B.1: start of frame, all but DHT, JPG and DAC; 0xF7 is JPEG-LS (T.87).
_SOF: Final = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})


@dataclass(frozen=True, slots=True)
class Fragments:
    """Where the items stand in the stream, the offset table's first."""

    offsets: tuple[int, ...]
    spare: int  # bytes of the file behind the last item; negative where the file ends inside it

    @property
    def cut(self) -> bool:
        """Whether the file has no room for the last item and the delimiter behind it."""
        return self.spare < _ITEM_BYTES


def find_fragments(parsed: Parsed) -> Fragments:
    """Walk the items as far as the delimiter or the end of the file: one short read for each."""
    at = parsed.pixels.offset
    parsed.stream.seek(at)
    offsets: list[int] = []
    while len(head := parsed.stream.read(_ITEM_BYTES)) == _ITEM_BYTES and head[:4] != _DELIMITER:
        (length,) = unpack_from("<L", head, 4)
        if head[:4] != _ITEM or length == _UNDEFINED:
            raise BadData(Reason.CORRUPT, "The compressed pixel data is no sequence of items.")
        if len(offsets) > _MOST_ITEMS or (not offsets and length > 4 * _MOST_ITEMS):
            raise BadData(
                Reason.TOO_LARGE, f"The compressed pixel data has over {_MOST_ITEMS} items or offsets."
            )
        offsets.append(at)
        at += _ITEM_BYTES + length
        parsed.stream.seek(at)
    return Fragments(tuple(offsets), parsed.size - at)


def check_frames(parsed: Parsed, fragments: Fragments, options: dict[str, Any]) -> None:
    """Refuse the file whose items do not hold the frames that its header claims."""
    count, items = options["number_of_frames"], len(fragments.offsets) - 1
    rle = parsed.syntax == RLELossless  # one item a frame, PS3.5 annex A.4.2
    cut = fragments.cut and (items < count or not (rle or _ended(parsed, fragments) >= count))
    if fragments.spare < 0 or cut:
        raise BadData(Reason.TRUNCATED, "The file ends before its last frame does.")
    if items == count:
        held = rle or all(_starts(parsed, at) for at in fragments.offsets[1:])
    else:
        held = items > count and (rle or _joined(parsed, fragments, count, options.get("extended_offsets")))
    if not held:
        detail = f"The header claims {count} frames, which the {items} items of the pixel data do not hold."
        raise BadData(Reason.CORRUPT, detail)


def _joined(parsed: Parsed, fragments: Fragments, count: int, extended: tuple[bytes, bytes] | None) -> bool:
    """Whether frames of several items can be told apart: by a table that is right, or by their ends."""
    table, first, *_ = fragments.offsets
    items, end = fragments.offsets[1:], parsed.size - fragments.spare
    if extended is not None:  # one item for each frame, PS3.3 section C.7.6.3.1.8
        if [len(half) for half in extended] != [8 * count, 8 * count]:
            return False
        offsets, lengths = (unpack(f"<{count}Q", half) for half in extended)
        ends = dict(zip(items, (*items[1:], end), strict=True))
        spans = zip(offsets, lengths, strict=True)
        return all(first + at + _ITEM_BYTES + size <= ends.get(first + at, 0) for at, size in spans)
    if first - table == _ITEM_BYTES:  # the basic offset table is empty
        return _ended(parsed, fragments) >= count
    parsed.stream.seek(table)
    starts = [first + at for at in parse_basic_offsets(parsed.stream)]
    rising = all(low < high for low, high in pairwise(starts))
    return len(starts) == count and starts[0] == first and rising and set(items).issuperset(starts)


def _starts(parsed: Parsed, item: int) -> bool:
    """Whether a code stream starts in the item here; else it goes on from the item before."""
    parsed.stream.seek(item + _ITEM_BYTES)
    return parsed.stream.read(len(_J2K_START)).startswith((_JPEG_START, _J2K_START, _JP2_START))


def _ended(parsed: Parsed, fragments: Fragments) -> int:
    """How many items a code stream ends in; padding may follow it."""
    count = 0
    for stop in (*fragments.offsets[2:], parsed.size - fragments.spare):
        parsed.stream.seek(stop - _TAIL_BYTES)
        count += _END in parsed.stream.read(_TAIL_BYTES)
    return count


def code_stream(parsed: Parsed, fragments: Fragments, frame: int, options: dict[str, Any]) -> bytes:
    """One frame's code stream, encapsulated alone, if it is whole and as large as the header says."""
    single = parsed.syntax == RLELossless  # one fragment a frame, PS3.5 annex A.4.2
    if single or len(fragments.offsets) - 1 == options["number_of_frames"]:
        code = _fragment(parsed, fragments, frame)
    else:
        code = _frame(parsed, fragments, frame, options)
    if not code:
        raise BadData(Reason.CORRUPT, "The compressed frame has no bytes.")
    if parsed.syntax in JPEGTransferSyntaxes and _END not in code[-_TAIL_BYTES:]:
        raise BadData(Reason.TRUNCATED, "The compressed frame ends before its code stream does.")
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
    start = jpeg_header(code)
    return (start.height, start.width) if start and start.height else None  # 0: told behind the first scan


class JpegStart(NamedTuple):
    """The start of frame of a JPEG or JPEG-LS stream (ITU-T T.81 B.2.2)."""

    bits: int
    height: int
    width: int
    components: int


def jpeg_header(code: bytes) -> JpegStart | None:
    """What the stream says of its frame; None where it is no JPEG, or has none."""
    if not code.startswith(_JPEG_START):
        return None
    at = 2
    while at + 10 <= len(code) and code[at] == 0xFF:  # noqa: PLR2004  (each marker segment, T.81 B.1.1)
        marker, length, *start = unpack_from(">xBHBHHB", code, at)
        if marker in _SOF:
            return JpegStart(*start)
        at += 2 + length
    return None
