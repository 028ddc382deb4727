"""What the signed root says of a log's blocks, records and earlier states."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from stages.base import OperatorError
from stages.index.errors import DamagedError
from stages.index.leaf import Leaf
from stages.index.tiles import WIDTH, Tiles, tile_path
from stages.index.tree import leaf_hash, perfect_root

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from stages.index.reader import Reader
    from stages.index.segments import Block
    from stages.index.verifier import Checkpoint

_HEIGHT: Final = 8  # log2 of a tile's width


class OtherLogError(OperatorError):
    """Two logs, or two states of one, that do not fit together: names both."""


class ProvenTree:
    """The leaf hashes of a log at a reader's checkpoint, each tile checked up to the signed root once.

    The root is folded from the hashes of the tiles that are not full, one at each level; so those are right
    if the root is. A full tile is right if its own root is the hash that a right tile one level up has of it.
    """

    def __init__(self, directory: Path, reader: Reader) -> None:
        self._tiles = Tiles(directory, reader.size)
        self._right: set[tuple[int, int]] = set()
        if self._tiles.root() != reader.root:
            raise DamagedError("tile", "is damaged: its hashes do not lead to the signed root")

    def leaf_hash(self, index: int) -> bytes:
        """The hash of a record's leaf."""
        self._check(0, index // WIDTH)
        return self._tiles.node(0, index)

    def _check(self, level: int, number: int) -> None:
        if (level, number) in self._right:
            return
        if self._tiles.width(level, number) == WIDTH:
            hashes = [self._tiles.node(level * _HEIGHT, number * WIDTH + place) for place in range(WIDTH)]
            if perfect_root(hashes) != self._tiles.node((level + 1) * _HEIGHT, number):
                raise DamagedError(
                    tile_path(level, number, WIDTH), "is damaged: it does not lead to the signed root"
                )
            self._check(level + 1, number // WIDTH)
        self._right.add((level, number))


def prove_rows(tree: ProvenTree, block: Block, rows: Iterable[int]) -> None:
    """Check these rows of a block, head and header included, up to the signed root."""
    head, header = sha256(block.head_Dn.data).digest(), sha256(block.header).digest()
    for row in rows:
        index, key = block.first_index + row, block.keys[row]
        column, sealed = sha256(block.columns_ND[row].data).digest(), sha256(block.sealed[row]).digest()
        leaf = Leaf(key, int(block.positions_N[row]), column, head, header, sealed)
        if leaf_hash(leaf.encode()) != tree.leaf_hash(index):
            raise DamagedError("segments", f"do not hold record {index} ({key.hex()}) as committed")


def present(reader: Reader, start: int, stop: int) -> range:
    """Which entries of the log from start to stop-1 are records whose ciphertext must be there."""
    return range(start, min(stop, reader.size))


def check_prefix(directory: Path, reader: Reader, pinned: Checkpoint, whose: str) -> None:
    """Refuse a checkpoint that is not one of this log's, now or earlier."""
    if pinned.size > reader.size:
        raise OtherLogError(
            f"{directory} has {reader.size} records, {whose} is about {pinned.size}: bring it up to date"
        )
    if root_at(directory, reader, pinned.size) != pinned.root:
        raise OtherLogError(
            f"{directory} does not hold the log of {whose}: at {pinned.size} records their roots differ"
        )


def root_at(directory: Path, reader: Reader, size: int) -> bytes:
    """The root the log had with so many records; empty where its tiles are not there."""
    if size == reader.size:
        return reader.root
    try:
        return Tiles(directory, size).root()
    except DamagedError:
        return b""
