"""Push: copies the published log to object storage; a reader sees a complete log at any moment.

Order: the missing blocks and tiles; the chunks of the manifest; the listing of the new checkpoint; the
checkpoint, last. Then objects that the checkpoint does not reach are removed, bytes of erased records too.
An interrupted push leaves the old log, and the next push sends what is missing. One process at a time pushes
a directory; nothing prevents two hosts from pushing copies of one log to one storage.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from stages.index.copies.bucket import PARTS, SMALL_BYTES, OnProgress, Store, side_by_side
from stages.index.copies.listing import (
    BLOCKS,
    LISTING_BYTES,
    LISTINGS,
    MANIFESTS,
    block_name,
    chunks_of,
    encode_listing,
    listing_name,
)
from stages.index.errors import BusyError, DamagedError, ForkedError, IndexStoreError
from stages.index.reader import Reader, open_reader
from stages.index.store.identity import CHECKPOINT, IDENTITY, PUBLIC_KEY, SIGNING_KEY
from stages.index.store.manifest import Extent, Manifest
from stages.index.store.partials import filled
from stages.index.store.segments import check_extent, read_extent
from stages.index.store.tiles import Tiles, grown_tiles, tile_path
from stages.index.verifier import NoteError, open_checkpoint

_ATTEMPTS: Final = 3  # while an erasure or a compaction goes on in the directory
Load = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Pushed:
    """The changes of one push."""

    size: int  # entries in the log there now
    root: bytes
    size_before: int | None  # None where there was no log
    objects: int  # sent
    bytes: int
    removed: int  # objects


def push(directory: Path, store: Store, on_progress: OnProgress = lambda *_: None) -> Pushed:
    """Bring the log in the storage up to the directory's checkpoint.

    Raises ForkedError where the storage holds no prefix of this log.
    """
    with _alone(directory):
        attempt = 1
        while True:
            reader = open_reader(directory)
            rows = list(Manifest(directory, reader.size))
            try:
                return _push(directory, store, reader, rows, on_progress)
            except DamagedError:
                if attempt == _ATTEMPTS or list(Manifest(directory, reader.size)) == rows:
                    raise
            attempt += 1  # blocks were moved during the push


def _push(
    directory: Path, store: Store, reader: Reader, rows: Sequence[Extent], on_progress: OnProgress
) -> Pushed:
    note = reader.checkpoint
    old = _check(directory, store, reader)
    before = None if old is None else open_checkpoint(old, reader.log).size
    blocks = {block_name(row): row for row in rows}
    chunks = chunks_of(rows)
    listing = listing_name(note)
    there = {
        name: size
        for folder in (BLOCKS, MANIFESTS, LISTINGS, PARTS)
        for name, size in store.sizes(folder).items()
    }

    loads: dict[str, Load] = dict(_grown(directory, before or 0, reader.size))
    loads |= {
        name: partial(_read, directory, row) for name, row in blocks.items() if there.get(name) != row.length
    }
    loads |= {name: partial(bytes, data) for name, data in chunks.items() if there.get(name) != len(data)}
    done = list(_sent(store, loads, on_progress))
    last = {**_notes(directory), listing: encode_listing(list(chunks)), CHECKPOINT: note}
    for name, data in last.items():  # in this order
        if store.find(name, LISTING_BYTES) != data:
            store.put(name, data)
            done.append(len(data))

    garbage = [name for name in there if name not in {listing, *chunks, *blocks}]
    garbage += _filled(store, before or 0, reader.size)
    removed = len(list(side_by_side(store.remove, garbage)))
    return Pushed(reader.size, reader.root, before, len(done), sum(done), removed)


def _check(directory: Path, store: Store, reader: Reader) -> bytes | None:
    """The checkpoint in the storage, if any, checked: this log continues it."""
    if store.find(SIGNING_KEY, SMALL_BYTES) is not None:
        raise IndexStoreError(
            f"{store} holds a {SIGNING_KEY}: that is a writer's index, not a place for a copy"
        )
    for name in (IDENTITY, PUBLIC_KEY):
        if store.find(name, SMALL_BYTES) not in (None, (directory / name).read_bytes()):
            raise ForkedError(f"{store} holds another log than {directory}: its {name} is not the same")
    old = store.find(CHECKPOINT, SMALL_BYTES)
    if old is not None:
        try:
            reader.prove_growth(old)
        except NoteError as error:
            raise DamagedError(f"{store}/{CHECKPOINT}", f"is damaged, or of another log: {error}") from error
        except ForkedError as error:
            raise ForkedError(f"{directory} does not continue what {store} holds: {error}") from error
    return old


def _grown(directory: Path, old: int, new: int) -> Iterator[tuple[str, Load]]:
    """The tiles and bundles of the tree that the one of the old size does not have."""
    before, after = Tiles(directory, old), Tiles(directory, new)
    for level, number in grown_tiles(old, new):
        width = after.width(level, number)
        if width != before.width(level, number):
            yield tile_path(level, number, width), partial(_tile, after, level, number)


def _tile(tiles: Tiles, level: int | None, number: int) -> bytes:
    return tiles.read(level, number)[0]


def _read(directory: Path, row: Extent) -> bytes:
    """A block's bytes, checked: damaged bytes must not reach the storage."""
    data = read_extent(directory, row)
    check_extent(data, row)
    return data


def _notes(directory: Path) -> Mapping[str, bytes]:
    """The small files that are not part of the tree."""
    return {name: (directory / name).read_bytes() for name in (IDENTITY, PUBLIC_KEY)}


def _sent(store: Store, loads: Mapping[str, Load], on_progress: OnProgress) -> Iterator[int]:
    """The length of each object, once it is sent."""

    def send(item: tuple[str, Load]) -> int:
        name, load = item
        data = load()
        store.put(name, data)
        return len(data)

    total = 0
    for count, size in enumerate(side_by_side(send, loads.items()), 1):
        total += size
        on_progress(count, len(loads), total)
        yield size


def _filled(store: Store, old: int, new: int) -> Iterator[str]:
    """The partial states of tiles that became full; readers at the old checkpoint read the full ones."""
    for level, number in filled(old, new):
        yield from store.sizes(tile_path(level, number, 1).rpartition("/")[0])


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Exclude other pushes of this directory; writers and readers are not affected."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise IndexStoreError(f"cannot open {directory}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"{directory} is being pushed already: wait until that push ends") from None
        yield
    finally:
        os.close(fd)
