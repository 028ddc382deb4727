"""The key tree on disk: a cache of the log, never authoritative.

It states the number of entries that it covers. A reader does not check the file: it compares each proof with
the signed root. A reader of an older checkpoint removes the newer rows. The writer, before it signs a new
root, checks the file's digest, the root it signed last and every record it adds. Both build the tree again
from the log where the file does not fit.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from mmap import PROT_READ, mmap
from pathlib import Path
from typing import Final

from stages.files import whole_file
from stages.index.errors import DamagedError
from stages.index.log.keytree import EMPTY, ROW_BYTES, KeyTree, bucket_bits, grown, row, shrunk
from stages.index.store.identity import STAGING
from stages.index.store.tiles import WIDTH, Tiles, tile_path
from stages.index.verifier import HASH_BYTES, KeyRoot, leaf_hash

KEY_TREE: Final = "keys.tree"
_HEAD: Final = struct.Struct("<8sQQ32s")  # magic, entries, rows, digest of these and what follows
_COUNTS: Final = struct.Struct("<QQ")
_MAGIC: Final = b"keytree2"


def rebuilt(tiles: Tiles) -> KeyTree:
    """The key tree of this log, from its records."""
    return grown(EMPTY, _rows(tiles, 0))


def stored(directory: Path, size: int) -> KeyTree | None:
    """The tree over the log's first ``size`` records, if the file is of that or of more.

    Where it is of that, its content is not checked.
    """
    found = _read(directory)
    if found is None or found.size < size:
        return None
    return found.tree if found.size == size else _sound(directory, size)


def caught_up(directory: Path, tiles: Tiles, known: KeyRoot) -> KeyTree:
    """The key tree of this log, of whose beginning the root is known; the file is replaced by it."""
    tree = _sound(directory, known.size)
    if tree is not None and tree.root == known.root:
        tree = grown(tree, _rows(tiles, known.size))
    else:
        tree = rebuilt(tiles)
    with whole_file(directory / KEY_TREE, staging=directory / STAGING) as file:
        for part in (
            _HEAD.pack(_MAGIC, tiles.size, len(tree), _digest(tiles.size, tree)),
            tree.rows,
            tree.nodes,
        ):
            file.write(part)
    return tree


def is_sound(directory: Path, signed: KeyRoot) -> bool:
    """Whether the file, where there is one, is of the tree that was signed, or of one that grew from it."""
    if not (directory / KEY_TREE).exists():
        return True
    tree = _sound(directory, signed.size)
    return tree is not None and tree.root == signed.root


@dataclass(frozen=True, slots=True)
class _Stored:
    """The content of the file."""

    size: int  # records of the log
    tree: KeyTree
    digest: bytes


def _sound(directory: Path, size: int) -> KeyTree | None:
    """The tree over the log's first ``size`` records, if a file that has its digest is of that or of more."""
    found = _read(directory)
    if found is None or found.size < size or found.digest != _digest(found.size, found.tree):
        return None
    return found.tree if found.size == size else shrunk(found.tree, size)


def _read(directory: Path) -> _Stored | None:
    try:
        with (directory / KEY_TREE).open("rb") as file:
            data = memoryview(mmap(file.fileno(), 0, prot=PROT_READ))
    except (OSError, ValueError):  # missing or empty
        return None
    if len(data) < _HEAD.size:
        return None
    magic, size, count, digest = _HEAD.unpack(data[: _HEAD.size])
    nodes = _HEAD.size + count * ROW_BYTES
    if magic != _MAGIC or len(data) - nodes != HASH_BYTES * (2 << bucket_bits(count)):
        return None
    return _Stored(size, KeyTree(data[_HEAD.size : nodes], data[nodes:]), digest)


def _digest(size: int, tree: KeyTree) -> bytes:
    digest = sha256(_COUNTS.pack(size, len(tree)))
    digest.update(tree.rows)
    digest.update(tree.nodes)
    return digest.digest()


def _rows(tiles: Tiles, first: int) -> Iterator[bytes]:
    """The rows of all records from this one on, each compared with its leaf hash."""
    for index in range(first, tiles.size):
        if leaf_hash(tiles.record(index)) != tiles.node(0, index):
            file = tile_path(None, index // WIDTH, tiles.width(None, index // WIDTH))
            raise DamagedError(file, f"does not hold record {index} as it was committed")
        key = tiles.key(index)
        if key is not None:  # an erasure has none
            yield row(key, index)
