"""The one writer: appends blocks, each durable before its entries are returned.

Order of a commit: the block, its manifest row, tiles and the next checkpoint are written (tiles and
checkpoint under temporary names) and synced; then the tiles are renamed into place and their directories
synced; then the checkpoint is, which makes the block part of the log. A crash at any point leaves the
log at the old checkpoint or the new one; what lies beyond it is cut off or overwritten by the next
writer. A key that is in the log is never appended again, so a retried batch changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from annotated_types import Ge, Le
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from stages.batches import Entries, Sealed
from stages.index.durable import (
    SYNCS,
    locked,
    make_directory,
    opened,
    publish,
    staged,
    sync_directories,
    sync_files,
    write_at,
)
from stages.index.errors import IndexStoreError, UnwritableError
from stages.index.identity import (
    CHECKPOINT,
    LOCK,
    STAGING,
    create,
    is_index,
    read_checkpoint,
    read_identity,
    read_signing_keys,
    refuse_foreign,
)
from stages.index.keyfile import sign_keys
from stages.index.lookup import Lookup, open_lookup
from stages.index.manifest import MANIFEST, ROW_BYTES, Extent
from stages.index.note import Signer
from stages.index.partials import drop_filled, drop_unfinished
from stages.index.recovery import Head, recover
from stages.index.segments import Block, block_of, encode_block
from stages.index.tiles import Tile, Tiles, grow

LOCK_WAIT_S: Final = 2.0  # a killed writer's lock goes with its process, which may take a moment


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class IndexOptions:
    """How the index is laid out on disk."""

    segment_bytes: Annotated[int, Ge(1 << 12), Le(1 << 40)] = 1 << 28
    """A segment that has reached this size gets no further block."""


class Writer:
    """Appends to one index; made by ``open_writer``. After an exception the index must be opened again."""

    def __init__(
        self,
        directory: Path,
        options: IndexOptions,
        pool: Executor,
        signer: Signer,
        head: Head,
        lookup: Lookup,
    ) -> None:
        self._directory = directory
        self._options = options
        self._pool = pool
        self._signer = signer
        self._head = head
        self._lookup = lookup
        self._broken = False

    def append(self, batch: Sealed) -> Entries:
        """Make the block's new records part of the log; where they stand, once that is durable."""
        if self._broken:
            raise IndexStoreError(f"an append to {self._directory} failed: open the index again")
        numbers = self._lookup.find(batch.rows.keys)
        rows: list[int] = []
        for row, key in enumerate(batch.rows.keys):
            if key not in numbers:
                numbers[key] = self._head.size + len(rows)
                rows.append(row)
        if rows:
            block = block_of(batch, rows, self._head.size)
            self._broken = True
            self._commit(block)
            self._broken = False
        index_N = np.array([numbers[key] for key in batch.rows.keys], np.int64)
        fresh_N = np.zeros(len(batch), np.bool_)
        fresh_N[rows] = True
        tiles = Tiles(self._directory, self._head.size)
        return Entries(batch.rows.keys, index_N, tuple(tiles.node(0, i) for i in index_N.tolist()), fresh_N)

    def close(self) -> None:
        """Sign the keys: what ``open_writer`` does last, unless something failed."""
        if not self._broken:
            sign_keys(self._directory, self._pool, self._signer, Tiles(self._directory, self._head.size))

    def _commit(self, block: Block) -> None:
        edge, tiles = grow(self._head.edge, [leaf.encode() for leaf in block.leaves()])
        segment, offset = self._end()
        data = encode_block(block, opens_segment=not offset)
        extent = Extent(block.first_index, len(block), segment, offset, len(data), sha256(data).digest())
        self._write(extent, data, tiles, self._signer.checkpoint(edge.size, edge.root))
        self._head = Head(edge, self._head.blocks + 1, extent)
        numbered = zip(block.keys, range(block.first_index, edge.size), strict=True)
        self._lookup.add(numbered, edge.size, edge.root)
        drop_filled(self._directory, block.first_index, edge.size)

    def _end(self) -> tuple[int, int]:
        """Where the next block goes: segment and offset."""
        last = self._head.last
        if last is None:
            return 0, 0
        if last.end >= self._options.segment_bytes:
            return last.segment + 1, 0
        return last.segment, last.end

    def _write(self, extent: Extent, data: bytes, tiles: list[Tile], note: bytes) -> None:
        home = self._directory
        files = [(home / tile.path, tile.data) for tile in tiles]
        drop_unfinished(home, extent.first, tiles)
        segments = (home / extent.file).parent
        changed = make_directory(segments) | ({segments} if not extent.offset else set())
        with (
            opened(home / extent.file) as segment,
            opened(home / MANIFEST) as manifest,
            staged(home / STAGING, [*files, (home / CHECKPOINT, note)]) as written,
        ):
            write_at(segment, data, extent.offset)
            write_at(manifest, extent.encode(), self._head.blocks * ROW_BYTES)
            sync_files(self._pool, [segment, manifest, *(file.fd for file in written)])
            publish(self._pool, written[:-1], *changed)
            publish(self._pool, written[-1:])


@contextmanager
def open_writer(directory: Path, options: IndexOptions) -> Iterator[Writer]:
    """The index's writer, after whatever an interrupted one left behind is cut off. Makes the index."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(SYNCS))
        try:
            refuse_foreign(directory)
            if not directory.is_dir():
                directory.mkdir(parents=True)
                sync_directories(pool, [directory.parent])
            stack.enter_context(locked(directory / LOCK, LOCK_WAIT_S))
            if not is_index(directory):
                create(directory, pool)
            identity, public = read_identity(directory)
            checkpoint, _ = read_checkpoint(directory, public)
            signer = Signer(identity.origin, read_signing_keys(directory, public), checkpoint.keys)
            head = recover(directory, checkpoint)
            lookup = stack.enter_context(closing(open_lookup(directory, Tiles(directory, head.size))))
        except (OSError, sqlite3.Error) as error:
            raise UnwritableError(f"{directory} cannot be written: {error}") from error
        writer = Writer(directory, options, pool, signer, head, lookup)
        yield writer
        writer.close()
