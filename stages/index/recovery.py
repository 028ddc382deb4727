"""What a writer does first: check the end of the log, take in what was committed, cut off what was not.

Invariants:

* The checkpoint states how long the published log is. Every whole row of the manifest after it is a block
  that was committed and perhaps acknowledged, so it becomes part of the log.
* An append starts when the one before is durable, so only the last block can be unfinished. An earlier one
  that is not whole was lost by the disk: the writer refuses to continue.
* Tiles beyond the checkpoint stay: no reader opens them before a writer has written them again.

Example: the checkpoint covers 250 entries in 3 blocks, and the manifest has rows 3 and 4. Row 3 and its
block are whole: the log has 260 entries. Row 4 is whole, but its block fails its digest: the manifest is cut
to 4 rows and the segment to the end of block 3. Had row 4 been whole and row 3 not, the writer would refuse.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.files import opened, sync_directory, write_at
from stages.index.errors import DamagedError
from stages.index.store.blocks import Statements, StoredBlock, decode_block
from stages.index.store.identity import INTENT
from stages.index.store.manifest import MANIFEST, ROW_BYTES, Extent, Manifest, rows_from, segment_path
from stages.index.store.partials import drop_filled
from stages.index.store.segments import check_extent, read_extent
from stages.index.store.tiles import Edge, Tiles, split_bundle
from stages.index.verifier import Checkpoint, leaf_hash


@dataclass(frozen=True, slots=True)
class Head:
    """Where the committed log ends: all that an append changes."""

    size: int
    blocks: int
    last: Extent | None


@dataclass(frozen=True, slots=True)
class Recovered:
    """The published tree's edge, the blocks that were committed after it, and where these end."""

    edge: Edge
    tail: tuple[StoredBlock | Statements, ...]
    head: Head


def recover(directory: Path, checkpoint: Checkpoint) -> Recovered:
    """Check the end of the log, recover the committed rest, and truncate what was written after it."""
    edge = _edge(directory, checkpoint)
    manifest = Manifest(directory, checkpoint.size)
    last = manifest[len(manifest) - 1] if len(manifest) else None
    if last is not None:
        check_extent(read_extent(directory, last), last)
        drop_filled(directory, last.first, last.stop)
    extents, tail = _tail(directory, checkpoint.size, len(manifest))
    _settle(directory, extents, len(manifest))
    last = extents[-1] if extents else last
    blocks = len(manifest) + len(extents)
    _cut(directory / MANIFEST, blocks * ROW_BYTES)
    if last is not None:
        _cut(directory / last.file, last.end)
    used = {extent.segment for extent in manifest} | {extent.segment for extent in extents}
    finished = not (directory / INTENT).exists()  # else something there is still to be overwritten
    for file in (directory / MANIFEST).parent.glob("*.arrows"):
        if finished and file.name not in {Path(segment_path(number)).name for number in used}:
            file.unlink()
    return Recovered(edge, tuple(tail), Head(last.stop if last else 0, blocks, last))


def _edge(directory: Path, checkpoint: Checkpoint) -> Edge:
    """The right edge of the published tree, checked."""
    edge = Tiles(directory, checkpoint.size).edge()
    if edge.root != checkpoint.root:
        raise DamagedError("tile", "is damaged at the right edge of the tree")
    hashes = tuple(leaf_hash(record) for record in split_bundle(edge.bundle))
    if hashes != (edge.levels[0] if edge.levels else ()):
        raise DamagedError("tile/entries", "is damaged in its last bundle")
    return edge


def _tail(directory: Path, size: int, blocks: int) -> tuple[list[Extent], list[StoredBlock | Statements]]:
    """The committed blocks from the published size on."""
    extents: list[Extent] = []
    tail: list[StoredBlock | Statements] = []
    rows = list(rows_from(directory, blocks))
    for number, row in enumerate(rows):
        try:
            tail.append(_block(directory, row, size))
        except DamagedError:
            if any(rows[number + 1 :]):
                raise
            break
        assert row is not None  # noqa: S101 - there is a block
        extents.append(row)
        size = row.stop
    return extents, tail


def _settle(directory: Path, extents: Sequence[Extent], number: int) -> None:
    """Make these blocks and their rows, from this number on, durable: who wrote them may have died before.

    They are written once more: after a sync that failed, the kernel takes the old pages for clean.
    """
    for extent in extents:
        with opened(directory / extent.file) as fd:
            write_at(fd, read_extent(directory, extent), extent.offset)
            os.fdatasync(fd)
    if extents:
        with opened(directory / MANIFEST) as fd:
            write_at(fd, b"".join(extent.encode() for extent in extents), number * ROW_BYTES)
            os.fdatasync(fd)
        sync_directory((directory / MANIFEST).parent)


def _block(directory: Path, row: Extent | None, size: int) -> StoredBlock | Statements:
    """The block of a row that follows the log of this size. Raises DamagedError where it is not whole."""
    if row is None or row.first != size:
        raise DamagedError(MANIFEST, f"is damaged after record {size - 1}")
    data = read_extent(directory, row)
    check_extent(data, row)
    return decode_block(data, row)


def _cut(path: Path, size: int) -> None:
    if path.is_file() and path.stat().st_size > size:
        os.truncate(path, size)
