"""The one writer: appends blocks, each durable before its entries are returned.

A commit is two syncs at once: the block's bytes at the end of the segment, and its row at the end of the
manifest. Then the block is part of the log in any event, and is acknowledged; tiles and checkpoint
follow (``publish``). A crash in between leaves a row without its block, or half a row, which the next
writer cuts off (``recovery``). A key that is in the log is never appended again, so a retried batch
changes nothing; nor is one that was erased. ADR 0007 gives the reasons.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from stages.batches import Entries, Sealed
from stages.files import named
from stages.index.errors import DamagedError, IndexStoreError
from stages.index.options import IndexOptions
from stages.index.publish import Publisher, Uncached
from stages.index.recovery import Head
from stages.index.store.blocks import Digests, Statements, StoredBlock, block_of, encode_block
from stages.index.store.durable import Fence
from stages.index.store.lookup import LOOKUP, Lookup
from stages.index.store.manifest import BlockKind, Extent
from stages.index.store.tail import Tail
from stages.index.store.tiles import Tiles
from stages.index.verifier import leaf_hash


@dataclass(frozen=True, slots=True)
class _Draft:
    """A block on its way to the disk."""

    block: StoredBlock | Statements
    extent: Extent
    stored: Future[None]
    digests: Future[Digests] | None  # of its records, if it holds any


class Writer:
    """Appends to one index; made by ``open_writer``. After an exception the index must be opened again."""

    def __init__(
        self,
        directory: Path,
        options: IndexOptions,
        pool: Executor,
        fence: Fence,
        head: Head,
        tail: Tail,
        lookup: Lookup,
        publisher: Publisher,
    ) -> None:
        self.directory = directory
        self.options = options
        self.pool = pool
        self.fence = fence
        self._head = head
        self._tail = tail
        self._lookup = lookup
        self._publisher = publisher
        self._broken = False

    @property
    def broken(self) -> bool:
        """Whether something failed, so that nothing more is taken."""
        return self._broken

    @property
    def size(self) -> int:
        """Entries in the log."""
        return self._head.size

    def append(self, batch: Sealed) -> Entries:
        """Make the block's new records part of the log; where they stand, once that is durable.

        Records whose key was erased stay erased: they are left out of the answer.
        """
        with named(self.directory):
            self._ready()
            return self._append(batch)

    def state(self, entries: Sequence[bytes]) -> range:
        """Make entries that are no records part of the log; their indices, once that is durable."""
        with named(self.directory):
            self._ready()
            first = self._head.size
            self._commit(self._draft(Statements(first, tuple(entries))), ())
            return range(first, self._head.size)

    def publish(self) -> None:
        """Let readers see everything that was appended; return when that is durable."""
        with named(self.directory):
            self._ready()
            self._broken = True
            self._publisher.publish()
            self._broken = False

    def next_segment(self) -> int:
        """A number that no segment has."""
        return self._tail.next_segment()

    def moved(self, last: Extent) -> None:
        """The manifest was replaced by one that leads to the same entries elsewhere; its last row."""
        self._tail.reopen()
        self._head = replace(self._head, last=last)

    def _ready(self) -> None:
        if self._broken:
            raise IndexStoreError(f"an append to {self.directory} failed: open the index again")
        self._publisher.check()

    def _append(self, batch: Sealed) -> Entries:
        keys = batch.rows.keys
        places = self._publisher.places(keys)
        rows = _first_of_each(keys, places)
        known = self._lookup.find([keys[row] for row in rows[:1]])  # a retried batch is known as a whole
        draft = self._draft(block_of(batch, rows, self._head.size)) if rows and not known else None
        known = self._lookup.find([keys[row] for row in rows])  # while the block is written
        if known:
            if draft is not None:
                draft.stored.result()  # what replaces it goes to the same place
                self._broken = False
            rows = [row for row in rows if keys[row] not in known]
            draft = self._draft(block_of(batch, rows, self._head.size)) if rows else None
        if draft is not None:
            places |= self._commit(draft, [keys[row] for row in rows])
        if known:
            tiles = Tiles(self.directory, self._publisher.published)
            there = {key: one.number for key, one in known.items() if not one.erased}
            if any(tiles.key(number) != key for key, number in there.items()):
                raise DamagedError(LOOKUP, "is damaged: delete it; the writer rebuilds it")
            places |= {key: Uncached(number, tiles.node(0, number)) for key, number in there.items()}
        return _entries(keys, places, rows)

    def _draft(self, block: StoredBlock | Statements) -> _Draft:
        """Write a block where the log ends, and hash it; it is not part of the log yet."""
        segment, offset = self._end()
        self._broken = True  # until it is committed
        data = encode_block(block, opens_segment=not offset)
        stored = self._tail.store(segment, offset, data)
        digests = self.pool.submit(block.digests) if isinstance(block, StoredBlock) else None
        kind = BlockKind.STATEMENTS if isinstance(block, Statements) else BlockKind.WHOLE
        now_ms, digest = time.time_ns() // 1_000_000, sha256(data).digest()
        where = (segment, offset, len(data))
        extent = Extent(block.first_index, len(block), *where, now_ms, kind, digest)
        return _Draft(block, extent, stored, digests)

    def _commit(self, draft: _Draft, keys: Sequence[bytes]) -> dict[bytes, Uncached]:
        """Make a block part of the log, durably; where its records stand.

        Its entries are made and hashed by others while its row is written here.
        """
        extent, head = draft.extent, self._head
        made = self.pool.submit(_hashed, draft)
        self.fence.check()
        self._tail.enter(extent, head.blocks)
        entries, hashes = made.result()
        draft.stored.result()
        self.fence.check()  # nothing is acknowledged that another writer may have written over
        self._head = Head(extent.stop, head.blocks + 1, extent)
        places = self._publisher.add(entries, hashes, keys)
        self._broken = False
        return places

    def _end(self) -> tuple[int, int]:
        """Where the next block goes: segment and offset."""
        last = self._head.last
        if last is None or last.end >= self.options.segment_bytes:
            return self._tail.fresh_segment(), 0
        return last.segment, last.end


def _first_of_each(keys: Sequence[bytes], places: Mapping[bytes, Uncached]) -> list[int]:
    """The rows of keys that have no place yet, one row a key."""
    seen = set(places)
    rows = []
    for row, key in enumerate(keys):
        if key not in seen:
            seen.add(key)
            rows.append(row)
    return rows


def _entries(keys: Sequence[bytes], places: Mapping[bytes, Uncached], fresh: Sequence[int]) -> Entries:
    """The answer to a batch, without the rows that have no place."""
    rows = [row for row, key in enumerate(keys) if key in places]
    answered = tuple(keys[row] for row in rows)
    found = [places[key] for key in answered]
    fresh_N = np.zeros(len(keys), np.bool_)
    fresh_N[list(fresh)] = True
    return Entries(
        answered,
        np.array([number for number, _ in found], np.int64),
        tuple(hashed for _, hashed in found),
        fresh_N[rows],
    )


def _hashed(draft: _Draft) -> tuple[list[bytes], list[bytes]]:
    """The entries of a block, and their leaf hashes."""
    block = draft.block
    known = draft.digests.result() if draft.digests else None
    entries = block.entries(known) if isinstance(block, StoredBlock) else block.entries()
    return entries, [leaf_hash(entry) for entry in entries]
