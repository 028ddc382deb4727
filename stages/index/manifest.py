"""The manifest: one row of 96 bytes per block, saying where in which segment its bytes lie.

Rows are checked by their own SHA-256, so that a torn, zero-filled or damaged row is told from a damaged
block. What is committed is decided by the checkpoint alone: rows at or after its size belong to an
append that was not finished.
"""

from __future__ import annotations

import mmap
import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from stages.index.errors import DamagedError

MANIFEST: Final = "segments/manifest"
_BODY: Final = struct.Struct("<QIIQQ32s")
_CHECK_BYTES: Final = 32
ROW_BYTES: Final = _BODY.size + _CHECK_BYTES
_NEVER: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Extent:
    """One block: its records, where its bytes lie, and their SHA-256."""

    first: int  # log index of the block's first record
    records: int
    segment: int
    offset: int  # a segment's first block begins at 0: the Arrow schema is part of it
    length: int
    digest: bytes

    def encode(self) -> bytes:
        """The manifest's row."""
        body = _BODY.pack(self.first, self.records, self.segment, self.offset, self.length, self.digest)
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
        """The log index after the block's last record."""
        return self.first + self.records

    def __str__(self) -> str:
        return f"records {self.first} to {self.stop - 1}"


def segment_path(number: int) -> str:
    """A segment's path, relative to the index."""
    return f"segments/{number:06}.arrows"


def decode_row(data: bytes) -> Extent | None:
    """The row that these bytes are; None where they are none."""
    body = data[: _BODY.size]
    if len(data) != ROW_BYTES or sha256(body).digest() != data[_BODY.size :]:
        return None
    extent = Extent(*_BODY.unpack(body))
    return extent if extent.records else None


class Manifest:
    """The blocks of the first ``size`` records, in log order. The file is mapped, not read."""

    def __init__(self, directory: Path, size: int) -> None:
        self.size = size
        self._data: mmap.mmap | bytes = b""
        self._count = 0
        if size:
            self._open(directory / MANIFEST)

    def _open(self, path: Path) -> None:
        """Map the committed rows only: a writer may cut off the rest at any time."""
        try:
            with path.open("rb") as file:
                fd = file.fileno()
                rows = range(os.fstat(fd).st_size // ROW_BYTES)
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
        """The number of the block that holds a record."""
        return bisect_right(range(len(self)), index, key=lambda number: self[number].first) - 1


def _read(fd: int, number: int) -> Extent | None:
    return decode_row(os.pread(fd, ROW_BYTES, number * ROW_BYTES))


def _first(row: Extent | None) -> int:
    """For bisection; what is no row (a torn or zero-filled tail) comes after every record."""
    return _NEVER if row is None else row.first
