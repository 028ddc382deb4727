"""The manifest: one row of 108 bytes per block, saying where in which segment its bytes lie.

It is also the journal of commits: a block is committed once its bytes and its row are durable, and what
lies beyond the published checkpoint is replayed from here. Rows are checked by their own SHA-256, so that
a reader can tell a torn, zero-filled or damaged row from a damaged block. Rows below the checkpoint are
replaced only by an erasure or a compaction, which writes a new file and renames it into place.
"""

from __future__ import annotations

import mmap
import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from pathlib import Path
from typing import Final

from stages.index.errors import DamagedError

MANIFEST: Final = "segments/manifest"
_BODY: Final = struct.Struct("<QIIQQQI32s")
_CHECK_BYTES: Final = 32
ROW_BYTES: Final = _BODY.size + _CHECK_BYTES
_NEVER: Final = 1 << 64


class BlockKind(IntEnum):
    """What a block holds."""

    WHOLE = 0  # records with all their bytes
    ERASED = 1  # records, some of which have lost their bytes
    STATEMENTS = 2  # entries of the log that are no records


@dataclass(frozen=True, slots=True)
class Extent:
    """One block: its entries, where its bytes lie, and their SHA-256."""

    first: int  # log index of the block's first entry
    records: int
    segment: int
    offset: int  # a segment's first block begins at 0: the Arrow schema is part of it
    length: int
    time_ms: int  # when it was committed, by the writer's clock, since 1970 UTC
    kind: BlockKind
    digest: bytes

    def encode(self) -> bytes:
        """The manifest's row."""
        body = _BODY.pack(
            self.first,
            self.records,
            self.segment,
            self.offset,
            self.length,
            self.time_ms,
            self.kind,
            self.digest,
        )
        return body + sha256(body).digest()

    @property
    def file(self) -> str:
        """The segment's path, relative to the index."""
        return segment_path(self.segment)

    @property
    def end(self) -> int:
        """Where the segment's next block begins."""
        return self.offset + self.length

    @property
    def stop(self) -> int:
        """The log index after the block's last entry."""
        return self.first + self.records

    def __str__(self) -> str:
        return f"records {self.first} to {self.stop - 1}"


def segment_path(number: int) -> str:
    """A segment's path, relative to the index."""
    return f"segments/{number:06}.arrows"


def by_segment(rows: Iterable[Extent]) -> dict[str, list[Extent]]:
    """The rows of each segment's file, in the order in which the blocks lie there."""
    found: dict[str, list[Extent]] = {}
    for row in sorted(rows, key=lambda row: (row.segment, row.offset)):
        found.setdefault(row.file, []).append(row)
    return found


def gaps(lying: Sequence[Extent], size: int) -> Iterator[tuple[int, int]]:
    """Spans where no block lies, of a segment of this size with these blocks: start and stop."""
    ends = [0, *(row.end for row in lying)]
    starts = [*(row.offset for row in lying), size]
    return ((end, start) for end, start in zip(ends, starts, strict=True) if start > end)


def decode_row(data: bytes) -> Extent | None:
    """The row that these bytes are; None where they are none."""
    body = data[: _BODY.size]
    if len(data) != ROW_BYTES or sha256(body).digest() != data[_BODY.size :]:
        return None
    first, records, segment, offset, length, time_ms, kind, digest = _BODY.unpack(body)
    if not records or kind not in set(BlockKind):
        return None
    return Extent(first, records, segment, offset, length, time_ms, BlockKind(kind), digest)


class Manifest:
    """The blocks of the first ``size`` entries, in log order. The file is mapped, not read."""

    def __init__(self, directory: Path, size: int) -> None:
        self.size = size
        self.file: tuple[int, int] | None = None  # device and inode: while it is mapped, no other file's
        self._data: mmap.mmap | bytes = b""
        self._count = 0
        if size:
            self._open(directory / MANIFEST)

    def _open(self, path: Path) -> None:
        """Map the published rows only: a writer may cut off the rest at any time."""
        try:
            with path.open("rb") as file:
                fd = file.fileno()
                found = os.fstat(fd)
                self.file = found.st_dev, found.st_ino
                rows = range(found.st_size // ROW_BYTES)
                self._count = bisect_left(rows, self.size, key=lambda number: _first(_read(fd, number)))
                if self._count:
                    self._data = mmap.mmap(fd, self._count * ROW_BYTES, prot=mmap.PROT_READ)
        except FileNotFoundError:
            raise DamagedError(MANIFEST, "is missing") from None
        if not self._count or self[self._count - 1].stop != self.size:
            raise DamagedError(MANIFEST, f"does not end with record {self.size - 1}")

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Extent:
        row = decode_row(self._data[number * ROW_BYTES : (number + 1) * ROW_BYTES])
        if row is None:
            raise DamagedError(MANIFEST, f"is damaged at row {number}")
        return row

    def __iter__(self) -> Iterator[Extent]:
        return (self[number] for number in range(len(self)))

    def find(self, index: int) -> int:
        """The number of the block that holds an entry."""
        return bisect_right(range(len(self)), index, key=self._first_of) - 1

    def _first_of(self, number: int) -> int:
        return int.from_bytes(self._data[number * ROW_BYTES : number * ROW_BYTES + 8], "little")


def rows_from(directory: Path, number: int) -> Iterator[Extent | None]:
    """The rows of the file from a number on, also beyond the checkpoint; None for a damaged row."""
    try:
        with (directory / MANIFEST).open("rb") as file:
            file.seek(number * ROW_BYTES)
            while data := file.read(ROW_BYTES):
                yield decode_row(data)
    except FileNotFoundError:
        return


def _read(fd: int, number: int) -> Extent | None:
    return decode_row(os.pread(fd, ROW_BYTES, number * ROW_BYTES))


def _first(row: Extent | None) -> int:
    """For bisection; what is no row (a torn or zero-filled tail) comes after every record."""
    return _NEVER if row is None else row.first
