"""The key tree on disk: a cache beside the log, never the truth.

It says of how many records it is. A reader does not check it: what it proves, it compares with the signed
root. The writer, who is about to sign a new root, checks the file's digest, the root it signed last and
every record it adds. Both make the tree again from the log where the file does not fit.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import replace
from hashlib import sha256
from mmap import PROT_READ, mmap
from pathlib import Path
from typing import Final

from stages.index.durable import publish, staged, sync_files
from stages.index.errors import DamagedError
from stages.index.identity import CHECKPOINT, STAGING
from stages.index.keytree import EMPTY, ROW_BYTES, KeyTree, bucket_bits, grown, row
from stages.index.note import Signer
from stages.index.tiles import WIDTH, Tiles, tile_path
from stages.index.verifier import HASH_BYTES, KeyRoot, leaf_hash

KEY_TREE: Final = "keys.tree"
_HEAD: Final = struct.Struct("<8sQQ32s")  # magic, records, rows, digest of what follows
_MAGIC: Final = b"keytree1"


def rebuilt(tiles: Tiles) -> KeyTree:
    """The key tree of this log, from its records."""
    return grown(EMPTY, _rows(tiles, 0))


def stored(directory: Path, size: int) -> KeyTree | None:
    """The tree over the log's first ``size`` records, if the file is of that; its content is not checked."""
    return (_read(directory, size) or (None, b""))[0]


def caught_up(directory: Path, tiles: Tiles, known: KeyRoot) -> KeyTree:
    """The key tree of this log, of whose beginning the root is known; the file is replaced by it."""
    tree, digest = _read(directory, known.size) or (EMPTY, b"")
    if tree.root == known.root and digest == _digest(tree):
        tree = grown(tree, _rows(tiles, known.size))
    else:
        tree = rebuilt(tiles)
    new = directory / f"{KEY_TREE}.new"
    with new.open("wb") as file:
        for part in (_HEAD.pack(_MAGIC, tiles.size, len(tree), _digest(tree)), tree.rows, tree.nodes):
            file.write(part)
    new.replace(directory / KEY_TREE)
    return tree


def sign_keys(directory: Path, pool: Executor, signer: Signer, tiles: Tiles) -> None:
    """Bring the key tree up to the end of this log, and state its root in a new checkpoint, durably."""
    if signer.keys is None or signer.keys.size == tiles.size:
        return
    tree = caught_up(directory, tiles, signer.keys)
    note = replace(signer, keys=KeyRoot(tiles.size, tree.root)).checkpoint(tiles.size, tiles.root())
    with staged(directory / STAGING, [(directory / CHECKPOINT, note)]) as written:
        sync_files(pool, [file.fd for file in written])
        publish(pool, written)


def _read(directory: Path, size: int) -> tuple[KeyTree, bytes] | None:
    try:
        with (directory / KEY_TREE).open("rb") as file:
            data = memoryview(mmap(file.fileno(), 0, prot=PROT_READ))
    except (OSError, ValueError):  # missing or empty
        return None
    if len(data) < _HEAD.size:
        return None
    magic, records, count, digest = _HEAD.unpack(data[: _HEAD.size])
    nodes = _HEAD.size + count * ROW_BYTES
    if (magic, records) != (_MAGIC, size) or len(data) - nodes != HASH_BYTES * (2 << bucket_bits(count)):
        return None
    return KeyTree(data[_HEAD.size : nodes], data[nodes:]), digest


def _digest(tree: KeyTree) -> bytes:
    digest = sha256(tree.rows)
    digest.update(tree.nodes)
    return digest.digest()


def _rows(tiles: Tiles, first: int) -> Iterator[bytes]:
    """The rows of all records from this one on, each compared with its leaf hash."""
    for index in range(first, tiles.size):
        if leaf_hash(tiles.record(index)) != tiles.node(0, index):
            file = tile_path(None, index // WIDTH, tiles.width(None, index // WIDTH))
            raise DamagedError(file, f"does not hold record {index} as it was committed")
        yield row(tiles.key(index), index)
