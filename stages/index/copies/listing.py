"""How a log lies in object storage, where nothing can be appended to: docs/index.md has the table.

A block is an object named by the SHA-256 of its bytes, so it never changes, and moving it (compaction)
sends nothing. The manifest is cut into chunks of a fixed number of rows, named likewise. Each checkpoint has
a listing of its own, named by the SHA-256 of the signed note, which names the chunks: a reader of a
checkpoint finds the manifest that belongs to it, also during a push.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Final

from stages.index.errors import DamagedError
from stages.index.store.manifest import ROW_BYTES, Extent, by_segment, decode_row

BLOCKS: Final = "blocks"
MANIFESTS: Final = "manifest"
LISTINGS: Final = "listing"
CHUNK_ROWS: Final = 4096
LISTING_BYTES: Final = 1 << 26  # at most: that of three billion blocks
_HEAD: Final = "medsecure-u/objects@v1"
_DIGEST_BYTES: Final = 32
_MAX_OFFSET: Final = 1 << 40  # of a block; no segment is let grow longer
_MAX_BLOCK: Final = 1 << 31  # bytes


def block_name(extent: Extent) -> str:
    """The object that holds a block."""
    return f"{BLOCKS}/{extent.digest.hex()}"


def listing_name(note: bytes) -> str:
    """The object that lists the blocks of this checkpoint."""
    return f"{LISTINGS}/{sha256(note).hexdigest()}"


def chunks_of(rows: Sequence[Extent]) -> dict[str, bytes]:
    """The manifest's chunks in order, by name."""
    found = {}
    for start in range(0, len(rows), CHUNK_ROWS):
        data = b"".join(row.encode() for row in rows[start : start + CHUNK_ROWS])
        found[f"{MANIFESTS}/{sha256(data).hexdigest()}"] = data
    return found


def encode_listing(chunks: Sequence[str]) -> bytes:
    """The listing's bytes: one line for itself, one for each chunk's name."""
    return "".join(f"{line}\n" for line in (_HEAD, *chunks)).encode()


def decode_listing(data: bytes, name: str) -> list[str]:
    """The names of the chunks, in order."""
    head, *lines = data.decode(errors="replace").removesuffix("\n").split("\n")
    digests = [line.removeprefix(f"{MANIFESTS}/") for line in lines]
    if head != _HEAD or data != encode_listing(lines) or not all(map(_is_digest, digests)):
        raise DamagedError(name, "is no listing of a log's blocks")
    return [f"{MANIFESTS}/{digest}" for digest in digests]


def decode_chunk(data: bytes, name: str) -> list[Extent]:
    """The rows of a chunk."""
    rows = [decode_row(data[i : i + ROW_BYTES]) for i in range(0, len(data), ROW_BYTES)]
    whole = [row for row in rows if row is not None]
    if len(whole) != len(rows) or name != f"{MANIFESTS}/{sha256(data).hexdigest()}":
        raise DamagedError(name, "is damaged: its content does not match its name")
    return whole


def check_rows(rows: Sequence[Extent], size: int, name: str) -> None:
    """Refuse rows that do not lead to all entries of a log of this size, each block in a place of its own."""
    stops = [0, *(row.stop for row in rows)]
    if [row.first for row in rows] != stops[:-1] or stops[-1] != size:
        raise DamagedError(name, f"does not lead to the records 0 to {size - 1}")
    if any(row.offset > _MAX_OFFSET or row.length > _MAX_BLOCK for row in rows):
        raise DamagedError(name, "names a place where no block can lie")
    check_apart(rows, name)


def check_apart(rows: Sequence[Extent], name: str) -> None:
    """Refuse rows of which one lies over another."""
    for lying in by_segment(rows).values():
        if any(row.end > after.offset for row, after in pairwise(lying)):
            raise DamagedError(name, "lays one block over another")


def _is_digest(text: str) -> bool:
    return len(text) == 2 * _DIGEST_BYTES and set(text) <= set("0123456789abcdef")
