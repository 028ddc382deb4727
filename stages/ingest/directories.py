"""The chain of a TIFF's directories (TIFF 6.0 section 2; BigTIFF), held against the file that it lies in.

Walked here because tifffile follows a chain that forms a loop without end, paints strips that are
missing, and reads past those that are short. A page counts where its strips or tiles are all there, inside
the file, and can hold its pixels. Read for that are the directories and the tables of strips, no pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import SEEK_END, BufferedReader
from struct import calcsize, unpack, unpack_from
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tifffile import COMPRESSION, PHOTOMETRIC

from stages.base import Reason
from stages.ingest.faults import BadData

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR = 256, 257, 258, 259, 262, 277, 284
_STRIPS, _ROWS_A_STRIP, _STRIP_BYTES = 273, 278, 279
_TILE_WIDTH, _TILE_LENGTH, _TILES, _TILE_BYTES = 322, 323, 324, 325
_SOFTWARE: Final = 305
_ASCII: Final = 2  # the type of its text
_SEPARATE: Final = 2  # planar configuration: strips of one sample
_WANTED: Final = frozenset(
    {_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR}
    | {_STRIPS, _ROWS_A_STRIP, _STRIP_BYTES, _TILE_WIDTH, _TILE_LENGTH, _TILES, _TILE_BYTES}
)
_INTEGERS: Final = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}  # BYTE, SHORT, LONG, LONG8
# The most bytes that one unfolds to. Other methods have no such bound, and decoders of their own.
_UNFOLDS: Final[dict[int, int]] = {
    COMPRESSION.NONE: 1,
    COMPRESSION.PACKBITS: 64,
    COMPRESSION.DEFLATE: 1032,
    COMPRESSION.ADOBE_DEFLATE: 1032,
}

Fields = dict[int, NDArray[Any]]


def count_pages(stream: BufferedReader, most: int) -> int:
    """Pages along the chain of directories, no more than ``most`` and one, each of them verified."""
    walk, at = _opened(stream)
    seen: set[int] = set()
    while at and len(seen) <= most:
        if at in seen:
            raise BadData(Reason.CORRUPT, "The TIFF's directories form a loop.")
        seen.add(at)
        fields, at = walk.directory(at)
        _check_page(fields, walk.size)
    return len(seen)


def software(stream: BufferedReader) -> str:
    """What made the file, as its first page says; empty where it does not."""
    walk, at = _opened(stream)
    fields = walk.directory(at)[0] if at else {}
    return fields[_SOFTWARE].tobytes().decode("latin-1").rstrip("\0") if _SOFTWARE in fields else ""


def _opened(stream: BufferedReader) -> tuple[_DirectoryWalk, int]:
    """The walk, and where the first directory stands."""
    size = stream.seek(0, SEEK_END)
    stream.seek(0)
    head = stream.read(16)
    order, big = ">" if head.startswith(b"M") else "<", b"+" in head[2:4]
    (at,) = unpack_from(order + ("Q" if big else "L"), head, 8 if big else 4)
    return _DirectoryWalk(stream, size, order, big, spare=size), at


@dataclass(slots=True)
class _DirectoryWalk:
    """The open file, and how many bytes of tables it may still hold: no two pages share one."""

    stream: BufferedReader
    size: int
    order: str
    big: bool
    spare: int

    def directory(self, at: int) -> tuple[Fields, int]:
        """The wanted fields of the directory at this offset, and where the next one stands."""
        layout = ("Q", "Q", "HHQ") if self.big else ("H", "L", "HHL")
        count, offset, entry = (self.order + one for one in layout)
        (entries,) = unpack(count, self._read(at, calcsize(count)))
        inline_at, entry_bytes = calcsize(entry), calcsize(entry) + calcsize(offset)
        held = self._read(at + calcsize(count), entries * entry_bytes + calcsize(offset))
        fields: Fields = {}
        for start in range(0, entries * entry_bytes, entry_bytes):
            tag, kind, values = unpack_from(entry, held, start)
            whole = tag in _WANTED and kind in _INTEGERS
            if whole or (tag == _SOFTWARE and kind == _ASCII):
                dtype = np.dtype(self.order + _INTEGERS[kind] if whole else "u1")
                field = held[start + inline_at : start + entry_bytes]
                if values * dtype.itemsize > len(field):
                    self.spare -= values * dtype.itemsize
                    field = self._read(unpack(offset, field)[0], values * dtype.itemsize)
                fields[tag] = np.frombuffer(field, dtype, values)
        return fields, unpack_from(offset, held, entries * entry_bytes)[0]

    def _read(self, at: int, wanted: int) -> bytes:
        """Checked before it is read: nothing is allocated for a length that the file does not have."""
        if at + wanted > self.size:
            raise BadData(Reason.TRUNCATED, "The TIFF's directories point outside the file.")
        if self.spare < 0:
            raise BadData(Reason.CORRUPT, "The TIFF's directories share their tables.")
        self.stream.seek(at)
        return self.stream.read(wanted)


def _check_page(fields: Fields, size: int) -> None:
    one = {tag: int(values[0]) for tag, values in fields.items() if len(values)}
    offsets, counts = (_TILES, _TILE_BYTES) if _TILES in fields else (_STRIPS, _STRIP_BYTES)
    if not {_WIDTH, _LENGTH, offsets, counts} <= one.keys() or len(fields[offsets]) != len(fields[counts]):
        raise BadData(Reason.CORRUPT, "A TIFF page does not say where its pixels are.")
    starts, lengths = fields[offsets].astype(np.uint64), fields[counts].astype(np.uint64)
    if (lengths > size).any() or (starts > size - lengths).any():
        raise BadData(Reason.TRUNCATED, "The pixels of a TIFF page lie outside the file.")
    unfolds = _UNFOLDS.get(one.get(_COMPRESSION, COMPRESSION.NONE))
    short = unfolds is not None and _least_bytes(one, fields) > int(lengths.sum()) * unfolds
    if len(starts) < _parts(one) or not lengths.all() or short:
        raise BadData(Reason.CORRUPT, "A TIFF page claims more pixels than its strips hold.")


def _grid(one: dict[int, int]) -> tuple[int, int, int, int]:
    """Width and height of a strip or tile, and how many there are across and down."""
    if _TILES in one:
        wide, high = one.get(_TILE_WIDTH, 0), one.get(_TILE_LENGTH, 0)
    else:
        wide, high = one[_WIDTH], one.get(_ROWS_A_STRIP, one[_LENGTH])
    wide, high = max(wide, 1), max(high, 1)
    return wide, high, -(-one[_WIDTH] // wide), -(-one[_LENGTH] // high)


def _parts(one: dict[int, int]) -> int:
    """How many strips or tiles the page must have."""
    _, _, across, down = _grid(one)
    return across * down * (one.get(_SAMPLES, 1) if one.get(_PLANAR) == _SEPARATE else 1)


def _least_bytes(one: dict[int, int], fields: Fields) -> int:
    """The least that the page's pixels take; nothing is known of subsampled colour."""
    if one.get(_PHOTOMETRIC) == PHOTOMETRIC.YCBCR:
        return 0
    pixels = one[_WIDTH] * one[_LENGTH]
    if _TILES in one:  # each is stored, and unfolded, whole: TIFF 6.0 section 15
        wide, high, across, down = _grid(one)
        pixels = wide * across * high * down
    bits = [int(each) for each in fields.get(_BITS, [1])]
    samples = one.get(_SAMPLES, 1)
    return pixels * (sum(bits) if len(bits) == samples else bits[0] * samples) // 8
