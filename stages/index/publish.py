"""Makes committed blocks visible: tiles, then the signed checkpoint, then the cache of keys.

Invariants:

* A block is committed, and acknowledged, once its bytes and its row of the manifest are durable. Everything
  else is derived from these and follows in the background: after ``PUBLISH_S``, or once ``_MANY`` entries
  wait, and at the end.
* A tile is durable under its name before a checkpoint that needs it is written. A crash therefore leaves
  the checkpoint at the old size or at the new one, never at a size whose tiles are missing.
* An entry enters the cache of keys only after the checkpoint that covers it.

Example: at size 250, a block of 10 is committed. Entry 255 completes the bundle and the tile of level 0, so
both are written in full and one node starts a tile of level 1; entries 256 to 259 start new ones of width
4. All are synced and renamed, then the checkpoint of size 260, then the partial tiles of width 250 go.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

from stages.index.log.erasure import decode_erasure, is_erasure
from stages.index.log.note import NoteSigner
from stages.index.store.durable import Fence, publish, replace_files, staged, sync_files
from stages.index.store.identity import CHECKPOINT, STAGING
from stages.index.store.lookup import Lookup
from stages.index.store.partials import drop_filled, drop_unfinished
from stages.index.store.tiles import Edge, grow
from stages.index.verifier import KeyRoot

PUBLISH_S: Final = 1.0  # how long an acknowledged block may stay invisible to readers
_MANY: Final = 1 << 15  # entries that are published without waiting for that
_MOST: Final = 1 << 17  # entries an append waits for: it bounds the memory


class Uncached(NamedTuple):
    """The place of an entry that the cache does not hold yet."""

    number: int
    leaf_hash: bytes


class Publisher:
    """Publishes from a thread of its own; every method may be called from any thread."""

    def __init__(
        self, directory: Path, pool: Executor, signer: NoteSigner, lookup: Lookup, edge: Edge, fence: Fence
    ) -> None:
        self._directory = directory
        self._pool = pool
        self._signer = signer
        self._lookup = lookup
        self._edge = edge  # of the published tree
        self._fence = fence
        self._records: list[bytes] = []  # committed and not yet published
        self._hashes: list[bytes] = []
        self._keys: dict[bytes, Uncached] = {}  # of the records among them, and of those not yet in the cache
        self._size = edge.size  # committed
        self._changed = threading.Condition()
        self._publishing = threading.Lock()
        self._failure: BaseException | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; recovery publishes what is left."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    @property
    def published(self) -> int:
        """The size of the published log."""
        return self._edge.size

    def places(self, keys: Iterable[bytes]) -> dict[bytes, Uncached]:
        """The places of those of these records that are committed and not in the cache yet."""
        return {key: place for key in keys if (place := self._keys.get(key))}

    @property
    def keys(self) -> KeyRoot | None:
        """The root of the key tree that every checkpoint states; None where none is signed."""
        return self._signer.keys

    def restate(self, keys: KeyRoot | None) -> None:
        """Publish a checkpoint that states this root of the key tree, as every later one does."""
        with self._publishing:
            self._fence.check()
            self._signer = replace(self._signer, keys=keys)
            note = self._signer.checkpoint(self._edge.size, self._edge.root)
            home = self._directory
            replace_files(self._pool, home / STAGING, [(home / CHECKPOINT, note)], self._fence, "keys-")

    def fail(self, error: BaseException) -> None:
        """Record a failure in the background: the next append raises it."""
        with self._changed:
            self._failure = error
            self._changed.notify_all()

    def check(self) -> None:
        """Raise a failure of the background; wait while more than ``_MOST`` entries are unpublished."""
        with self._changed:
            self._changed.wait_for(lambda: self._failure or len(self._records) < _MOST)
            if self._failure is not None:
                raise self._failure

    def add(
        self, records: Sequence[bytes], hashes: Sequence[bytes], keys: Sequence[bytes]
    ) -> dict[bytes, Uncached]:
        """Take in a committed block: its entries, their leaf hashes, and their keys if they are records.

        Where these records stand.
        """
        places = dict(zip(keys, map(Uncached, count(self._size), hashes), strict=False))
        with self._changed:
            self._keys |= places
            self._records += records
            self._hashes += hashes
            self._size += len(records)
            self._changed.notify_all()
        return places

    def publish(self) -> None:
        """Publish everything that is committed; return when that is durable."""
        with self._publishing:
            with self._changed:
                records, hashes = self._records[:], self._hashes[:]
            if records:
                self._publish(records, hashes)

    def _publish(self, records: list[bytes], hashes: list[bytes]) -> None:
        self._fence.check()  # before anything is touched: staging and partial tiles may be a successor's
        home, old = self._directory, self._edge
        edge, tiles = grow(old, records, hashes)
        drop_unfinished(home, old.size, tiles)
        files = [(home / tile.path, tile.data) for tile in tiles]
        note = (home / CHECKPOINT, self._signer.checkpoint(edge.size, edge.root))
        with staged(home / STAGING, [*files, note]) as written:
            sync_files(self._pool, [file.fd for file in written])
            self._fence.check()
            publish(self._pool, written[:-1])
            publish(self._pool, written[-1:])
        self._edge = edge
        with self._changed:
            del self._records[: len(records)], self._hashes[: len(records)]
            known = [(key, place.number) for key, place in self._keys.items() if place.number < edge.size]
            self._changed.notify_all()
        drop_filled(home, old.size, edge.size)
        erased = [decode_erasure(one).key for one in records if is_erasure(one)]
        self._lookup.add(known, edge.size, edge.root, erased)
        with self._changed:
            for key, _ in known:
                del self._keys[key]

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._records)
                self._changed.wait_for(lambda: self._stopped or len(self._records) >= _MANY, PUBLISH_S)
                if self._stopped:
                    return
            try:
                self.publish()
            except BaseException as error:  # noqa: BLE001 - raised by the next append
                self.fail(error)
                return
