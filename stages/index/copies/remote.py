"""A log in object storage as a reader finds it: tree, manifest and blocks of one checkpoint, each checked.

Hash tiles are held against those above them and so against the signed root, leaf records against their
hashes, blocks against the manifest's digest, the leaf records and the erasures in the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from stages.index.copies.bucket import MissingError, Store
from stages.index.copies.listing import (
    CHUNK_ROWS,
    LISTING_BYTES,
    block_name,
    check_rows,
    decode_chunk,
    decode_listing,
    listing_name,
)
from stages.index.errors import DamagedError, IndexStoreError
from stages.index.log.erasure import decode_erasure, is_erasure
from stages.index.log.leaf import LeafError
from stages.index.log.tree import perfect_root
from stages.index.store.blocks import StoredBlock, decode_block
from stages.index.store.manifest import ROW_BYTES, Extent
from stages.index.store.tiles import WIDTH, Edge, Tiles, bundle_bytes, split_bundle, tile_path
from stages.index.verifier import HASH_BYTES, Checkpoint, leaf_hash

_TILE_BYTES: Final = WIDTH * (2 + (1 << 16))  # of a bundle of the longest entries
_HEIGHT: Final = 8  # log2 of WIDTH


class RemoteTiles(Tiles):
    """The tree of the first ``size`` records as it lies in the storage, unchecked.

    Where a tile is missing, that is a MissingError: a push may have replaced it.
    """

    def __init__(self, store: Store, size: int) -> None:
        super().__init__(Path(), size)
        self._store = store

    def _find(self, path: str) -> bytes | None:
        return self._store.find(path, _TILE_BYTES)

    def _missing(self, path: str) -> IndexStoreError:
        return MissingError(f"cannot read {path} at {self._store}: it is not there")


def read_edge(remote: RemoteTiles, checkpoint: Checkpoint) -> Edge:
    """The right edge of the tree, up to the signed root."""
    edge = remote.edge()
    if edge.root != checkpoint.root:
        raise DamagedError("tile", f"is damaged at the right edge of the tree of {checkpoint.size} records")
    if edge.size % WIDTH:
        check_bundle(edge.bundle, edge.levels[0], tile_path(None, edge.size // WIDTH, edge.size % WIDTH))
    return edge


def is_tile(tiles: Tiles, level: int, number: int, data: bytes) -> bool:
    """Whether these are the hashes of a full tile, given that of the tile above it."""
    hashes = [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]
    full = len(data) == WIDTH * HASH_BYTES
    return full and perfect_root(hashes) == tiles.node(_HEIGHT * (level + 1), number)


def check_bundle(data: bytes, hashes: Sequence[bytes], name: str) -> None:
    """Refuse leaf records that do not have these hashes."""
    records = list(split_bundle(data))
    if bundle_bytes(records) != len(data) or [*map(leaf_hash, records)] != list(hashes):
        raise DamagedError(name, "is damaged: its leaf records are not what was committed")


def read_rows(store: Store, note: bytes, size: int) -> list[Extent]:
    """Where the blocks of the checkpoint's log go: the manifest that was pushed with it."""
    name = listing_name(note)
    rows: list[Extent] = []
    for chunk in decode_listing(store.get(name, LISTING_BYTES), name):
        rows += decode_chunk(store.get(chunk, CHUNK_ROWS * ROW_BYTES), chunk)
        if len(rows) > size:  # every block has a record: a longer listing is wrong
            raise DamagedError(name, f"leads to more than {size} blocks")
    check_rows(rows, size, name)
    return rows


def check_block(data: bytes, row: Extent, tiles: Tiles) -> None:
    """Refuse a block that does not match the log's entries."""
    name = block_name(row)
    if sha256(data).digest() != row.digest:
        raise DamagedError(name, "is damaged: its content does not match its name")
    block = decode_block(data, row)
    for index, entry in enumerate(block.entries(), row.first):
        if entry != tiles.record(index):
            raise DamagedError(name, f"does not hold record {index} as it was committed")
    for place, eraser in block.erased if isinstance(block, StoredBlock) else ():
        if not _says(tiles, eraser, row.first + place):
            raise DamagedError(name, f"lacks record {row.first + place}, and no entry erases it")


def _says(tiles: Tiles, eraser: int, index: int) -> bool:
    """Whether that entry of the log is the erasure of that record."""
    if not index < eraser < tiles.size:
        return False
    entry = tiles.record(eraser)
    try:
        return is_erasure(entry) and decode_erasure(entry).index == index
    except LeafError:
        return False
