"""Pull: a log in object storage becomes a directory to read, search and verify; it cannot be appended to.

What comes is checked before it is kept: the checkpoint's signatures, that it continues what the directory
had, tiles up to the signed root, every block against digest and leaf records. Order: tiles and blocks, then
the manifest, then the checkpoint; then what the manifest does not lead to is overwritten and removed. An
interrupted pull leaves the old log, perhaps without records that were erased since; the next one continues.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from stages.errors import UnwritableError
from stages.index.copies.bucket import SMALL_BYTES, MissingError, OnProgress, Store, side_by_side
from stages.index.copies.listing import LISTING_BYTES, block_name, check_apart, listing_name
from stages.index.copies.remote import RemoteTiles, check_block, check_bundle, is_tile, read_edge, read_rows
from stages.index.copies.replica import Replica, make_replica
from stages.index.errors import DamagedError, ForkedError, NotAnIndexError
from stages.index.log.growth import growth_path
from stages.index.store.durable import SYNCS, locked
from stages.index.store.identity import (
    CHECKPOINT,
    IDENTITY,
    LOCK,
    PUBLIC_KEY,
    STAGING,
    is_index,
    read_checkpoint,
    read_identity,
)
from stages.index.store.lookup import open_lookup
from stages.index.store.manifest import MANIFEST, Extent, Manifest
from stages.index.store.partials import drop_filled
from stages.index.store.segments import check_extent, read_extent
from stages.index.store.tiles import WIDTH, Edge, Tile, Tiles, grown_tiles, partial_tiles, tile_path
from stages.index.verifier import HASH_BYTES, Checkpoint, LogKey, NoteError, open_checkpoint

_TOGETHER: Final = 64  # tiles that are fetched and synced together
_WAIT_S: Final = 2.0  # for another pull into the directory


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull changed."""

    size: int  # entries in the log here now
    root: bytes
    size_before: int | None  # None where there was no log
    objects: int  # blocks and tiles that were fetched
    bytes: int


def pull(
    store: Store,
    directory: Path,
    keys: tuple[LogKey, ...] | None = None,
    on_progress: OnProgress = lambda *_: None,
) -> Pulled:
    """Bring the directory up to the checkpoint in the storage, under the given keys or the directory's own.

    The first time, without keys, those in the storage are taken on trust. Raises ForkedError where the log
    there does not continue the one here.
    """
    try:
        make_replica(directory)
        with ThreadPoolExecutor(SYNCS) as pool, locked(directory / LOCK, _WAIT_S):
            while True:
                seen = _newest(store)
                try:
                    return _pull(store, Replica(directory, pool), seen[0], keys, on_progress)
                except MissingError:
                    if _newest(store) == seen:
                        raise  # else a push has replaced it since
    except (OSError, sqlite3.Error) as error:
        raise UnwritableError(f"{directory} cannot be written: {error}") from error


def _newest(store: Store) -> tuple[bytes, bytes | None]:
    """The checkpoint, and the listing that goes with it."""
    note = store.find(CHECKPOINT, SMALL_BYTES)
    if note is None:
        raise NotAnIndexError(f"{store} holds no log: there is no {CHECKPOINT}")
    return note, store.find(listing_name(note), LISTING_BYTES)


def _pull(
    store: Store, replica: Replica, note: bytes, keys: tuple[LogKey, ...] | None, on_progress: OnProgress
) -> Pulled:
    home = replica.directory
    notes = {} if is_index(home) else _identity(store, replica)
    _, own = read_identity(home if not notes else home / STAGING)
    if keys not in (None, own):
        raise DamagedError(PUBLIC_KEY, f"of {home if not notes else store} is not the expected one")
    try:
        checkpoint = open_checkpoint(note, own)
    except NoteError as error:
        raise DamagedError(f"{store}/{CHECKPOINT}", f"is not signed by this log: {error}") from error
    before = None if notes else read_checkpoint(home, own)[0]
    remote = RemoteTiles(store, checkpoint.size)
    if before is not None:
        _check_growth(remote, before, checkpoint, store)
    if before is None or before.size < checkpoint.size:
        fetched = [*_tiles(replica, remote, read_edge(remote, checkpoint), before)]
    else:
        fetched = []
    rows = read_rows(store, note, checkpoint.size)
    old = [] if before is None else list(Manifest(home, before.size))
    fetched += _blocks(store, replica, old, rows, on_progress)
    replica.sync()
    identity = {name: notes.pop(name) for name in (IDENTITY,) if name in notes}
    for name, data in {**notes, MANIFEST: _encoded(rows), CHECKPOINT: note}.items():
        if not (home / name).exists() or (home / name).read_bytes() != data:
            replica.keep({name: data})
    replica.keep(identity)  # last: now it is an index
    drop_filled(home, before.size if before else 0, checkpoint.size)
    open_lookup(home, Tiles(home, checkpoint.size)).close()
    replica.drop_rest(rows)
    size = None if before is None else before.size
    return Pulled(checkpoint.size, checkpoint.root, size, len(fetched), sum(fetched))


def _identity(store: Store, replica: Replica) -> dict[str, bytes]:
    """Name and keys of a log that is new here, put where they can be checked."""
    notes = {name: store.get(name, SMALL_BYTES) for name in (PUBLIC_KEY, IDENTITY)}
    for name, data in notes.items():
        (replica.directory / STAGING / name).write_bytes(data)
    return notes


def _encoded(rows: Sequence[Extent]) -> bytes:
    return b"".join(row.encode() for row in rows)


def _check_growth(remote: RemoteTiles, before: Checkpoint, now: Checkpoint, store: Store) -> None:
    """Refuse a log that is not the continuation of what is here."""
    try:
        growth_path(before, now, remote.node)
    except ForkedError as error:
        raise ForkedError(f"{store} does not continue what is here: {error}") from error


def _tiles(replica: Replica, remote: RemoteTiles, edge: Edge, before: Checkpoint | None) -> Iterator[int]:
    """Bring the tree here, the highest level first; the length of each tile that had to be fetched."""
    size = edge.size
    tiles = Tiles(replica.directory, size)
    narrow = list(partial_tiles(edge))
    if edge.bundle:
        narrow.append(Tile(None, size // WIDTH, size % WIDTH, edge.bundle))
    replica.keep({tile.path: tile.data for tile in narrow})
    yield from (len(tile.data) for tile in narrow)
    grown = [one for one in grown_tiles(before.size if before else 0, size) if tiles.width(*one) == WIDTH]
    while grown:
        level = grown[0][0]
        some = [one for one in grown[:_TOGETHER] if one[0] == level]  # what is above them is here already
        del grown[: len(some)]
        found: dict[str, bytes] = {}
        yield from side_by_side(partial(_fetch_tile, remote, tiles, found), some)
        replica.keep(found)


def _fetch_tile(
    remote: RemoteTiles, tiles: Tiles, found: dict[str, bytes], place: tuple[int | None, int]
) -> int:
    """Fetch a full tile, checked against what is above it; its length."""
    path = tile_path(*place, WIDTH)
    data, _ = remote.read(*place)
    level, number = place
    if level is not None:
        if not is_tile(tiles, level, number, data):
            raise DamagedError(path, "is damaged: its hashes are not those that were committed")
    else:
        hashes, _ = tiles.read(0, number)
        check_bundle(data, [hashes[i : i + HASH_BYTES] for i in range(0, len(hashes), HASH_BYTES)], path)
    found[path] = data
    return len(data)


def _blocks(
    store: Store, replica: Replica, old: Sequence[Extent], rows: Sequence[Extent], on_progress: OnProgress
) -> Iterator[int]:
    """Bring the blocks here; the length of each that had to be fetched."""
    tiles = Tiles(replica.directory, rows[-1].stop if rows else 0)
    here = {(row.segment, row.offset, row.digest) for row in old}
    missing = [row for row in rows if (row.segment, row.offset, row.digest) not in here]
    check_apart([*old, *missing], str(store))  # until the manifest is replaced, the old blocks lead
    total = 0
    for count, size in enumerate(side_by_side(partial(_fetch_block, store, replica, tiles), missing), 1):
        total += size
        on_progress(count, len(missing), total)
        if size:
            yield size


def _fetch_block(store: Store, replica: Replica, tiles: Tiles, row: Extent) -> int:
    """Fetch a block, unless an interrupted pull has brought it; its length, or 0."""
    try:
        data = read_extent(replica.directory, row)
        check_extent(data, row)
    except DamagedError:
        data = store.get(block_name(row), row.length)
        check_block(data, row, tiles)
        replica.write(row, data)
        return len(data)
    check_block(data, row, tiles)
    return 0
