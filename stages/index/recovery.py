"""What a writer does first: check the end of the log, and cut off what was never committed.

The checkpoint says how long the log is. Whatever lies after that, in whatever state, belongs to an append
that was not acknowledged. Tiles after it are left alone: nobody reads them before they are written again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stages.index.errors import DamagedError
from stages.index.manifest import MANIFEST, ROW_BYTES, Extent, Manifest, segment_path
from stages.index.partials import drop_filled
from stages.index.segments import check_extent, read_extent
from stages.index.tiles import Edge, Tiles, split_bundle
from stages.index.verifier import Checkpoint, leaf_hash


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log ends: all that an append changes."""

    edge: Edge
    blocks: int
    last: Extent | None

    @property
    def size(self) -> int:
        """Records in the log."""
        return self.edge.size


def recover(directory: Path, checkpoint: Checkpoint) -> Head:
    """Check the end of the log as the checkpoint has it, and cut off whatever was written after it."""
    edge = Tiles(directory, checkpoint.size).edge()
    if edge.root != checkpoint.root:
        raise DamagedError("tile", "is damaged at the right edge of the tree")
    hashes = tuple(leaf_hash(record) for record in split_bundle(edge.bundle))
    if hashes != (edge.levels[0] if edge.levels else ()):
        raise DamagedError("tile/entries", "is damaged in its last bundle")
    manifest = Manifest(directory, checkpoint.size)
    last = manifest[len(manifest) - 1] if len(manifest) else None
    if last is not None:
        check_extent(read_extent(directory, last), last)
    _cut(directory / MANIFEST, len(manifest) * ROW_BYTES)
    unfinished = 0 if last is None else last.segment + 1  # an append begins one segment at most
    (directory / segment_path(unfinished)).unlink(missing_ok=True)
    if last is not None:
        _cut(directory / last.file, last.end)
        drop_filled(directory, last.first, last.stop)
    return Head(edge, len(manifest), last)


def _cut(path: Path, size: int) -> None:
    if path.is_file() and path.stat().st_size > size:
        os.truncate(path, size)
