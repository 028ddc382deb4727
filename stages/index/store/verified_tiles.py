"""Inclusion proofs from tiles that were checked up to the signed root when they were read.

A tile is kept with all hashes of the tree inside it, and only once its root is the one in the tile above;
the tiles at the right edge are checked together, against the root of the log. So a path is looked up, not
computed, and needs no check of its own. ``tree.inclusion_path`` and ``tree.verify_inclusion`` are the
specification.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from stages.index.errors import DamagedError
from stages.index.log.tree import fold, perfect_parts
from stages.index.store.tiles import WIDTH, Tiles, tile_path
from stages.index.verifier import HASH_BYTES, leaf_hash, node_hash

if TYPE_CHECKING:
    from pathlib import Path

_HEIGHT: Final = 8  # log2 of WIDTH
_CACHED: Final = 4096  # tiles of 16 KB: those of a log of a million records
_LEAF_BYTES: Final = 168  # of a record in a bundle, its length included


class VerifiedTiles:
    """The tree of one checkpoint. Raises DamagedError where what is stored is not that tree."""

    def __init__(self, directory: Path, size: int, root: bytes) -> None:
        self._directory = str(directory)
        self._tiles = Tiles(directory, size)
        self.size = size
        self.root = root
        self._tile = lru_cache(_CACHED)(self._read)
        self._bundle = lru_cache(_CACHED)(self._bundle_path)
        self._peaks = list(perfect_parts(0, size))  # height and number of the perfect subtrees, largest first
        self._edge: list[bytes] | None = None
        self._rest: list[bytes] = []  # the hash over all that is to the right of each of them

    def path(self, index: int) -> tuple[bytes, ...]:
        """The inclusion path of an entry, from the leaf's sibling up.

        The tree is a row of perfect subtrees (the peaks), which get smaller to the right. The path has the
        siblings inside the entry's peak, then the hash over all peaks right of it, then those left of it.

        A tile holds its hashes row by row, 256, 128, 64 … of them, so row ``inner`` starts at hash
        ``512 - (512 >> inner)``. Example: in a tree of 262 entries, the peaks cover 256, 4 and 2. Entry 5 has
        the siblings 4 (hash 0 + 4), node 3 of row 1 (hash 256 + 3), node 0 of row 2 (hash 384 + 0), …, five
        more to the top of its peak; then the hash over the peaks of 4 and 2; and nothing to the left.
        """
        peaks = self._edge or self._check_edge()
        place, lo = 0, 0
        while index >= lo + (1 << self._peaks[place][0]):
            lo += 1 << self._peaks[place][0]
            place += 1
        height = self._peaks[place][0]
        path = []
        for level in range((height + _HEIGHT - 1) // _HEIGHT):
            tile = self._tile(level, index >> _HEIGHT * (level + 1))
            first = index >> _HEIGHT * level & WIDTH - 1
            for inner in range(min(_HEIGHT, height - _HEIGHT * level)):
                start = (2 * WIDTH - (2 * WIDTH >> inner) + (first >> inner ^ 1)) * HASH_BYTES
                path.append(tile[start : start + HASH_BYTES])
        if place + 1 < len(peaks):
            path.append(self._rest[place])
        if place:
            path += peaks[place - 1 :: -1]
        return tuple(path)

    def record(self, index: int) -> bytes:
        """A leaf record, which hashes to the leaf."""
        number, place = divmod(index, WIDTH)
        wanted = self._tile(0, number)[place * HASH_BYTES : (place + 1) * HASH_BYTES]
        sliced = self._slice(number, place)
        if sliced is not None and leaf_hash(sliced) == wanted:
            return sliced
        record = self._tiles.record(index)  # a bundle that is not full, or of entries of other lengths
        if leaf_hash(record) != wanted:
            path = tile_path(None, number, self._tiles.width(None, number))
            raise DamagedError(path, f"does not hold record {index} as it was committed")
        return record

    def _slice(self, number: int, place: int) -> bytes | None:
        """What stands where the record does in a bundle of records only."""
        try:
            fd = os.open(self._bundle(number), os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            return os.pread(fd, _LEAF_BYTES, place * _LEAF_BYTES)[2:]
        finally:
            os.close(fd)

    def _bundle_path(self, number: int) -> str:
        return f"{self._directory}/{tile_path(None, number, WIDTH)}"

    def _check_edge(self) -> list[bytes]:
        """The hashes of the perfect subtrees, which make up the root."""
        peaks = [self._tiles.node(height, number) for height, number in self._peaks]
        if fold(peaks) != self.root:
            raise DamagedError("tile", f"is damaged at the right edge of the tree of {self.size} records")
        self._rest = [fold(peaks[place:]) for place in range(1, len(peaks))]
        self._edge = peaks
        return peaks

    def _read(self, level: int, number: int) -> bytes:
        """All hashes of the tree inside a tile, level by level, its lowest first; 16 KB where it is full."""
        data, path = self._tiles.read(level, number)
        width = self._tiles.width(level, number)
        if len(data) != width * HASH_BYTES:
            raise DamagedError(path, f"has {len(data)} bytes, not {HASH_BYTES} a hash")
        hashes = [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]
        rows = [hashes]
        while len(rows) <= _HEIGHT:
            pairs = iter(rows[-1])
            rows.append([node_hash(left, right) for left, right in zip(pairs, pairs, strict=False)])
        if not self._is_right(level, number, rows):
            below = f"records {number << _HEIGHT * (level + 1)} and following"
            raise DamagedError(path, f"is damaged on the way from {below} to the root")
        padded = (row + [bytes(HASH_BYTES)] * ((WIDTH >> inner) - len(row)) for inner, row in enumerate(rows))
        return b"".join(b"".join(row) for row in padded)

    def _is_right(self, level: int, number: int, rows: list[list[bytes]]) -> bool:
        """Whether the tile's hashes are those that the tree above it is of."""
        if len(rows[0]) == WIDTH:
            peak = self._peak(level + 1, number)
            if peak is not None:
                return rows[_HEIGHT][0] == peak
            above = self._tile(level + 1, number // WIDTH)
            start = number % WIDTH * HASH_BYTES
            return rows[_HEIGHT][0] == above[start : start + HASH_BYTES]
        edge = self._edge or self._check_edge()
        low, high = _HEIGHT * level, _HEIGHT * (level + 1)
        here = [edge[i] for i, (height, _) in enumerate(self._peaks) if low <= height < high]
        mine = [
            rows[height - low][at - (number * WIDTH >> height - low)]
            for height, at in self._peaks
            if low <= height < high
        ]
        return mine == here

    def _peak(self, level: int, number: int) -> bytes | None:
        """The hash of this subtree where the tree's right edge is made of it."""
        edge = self._edge or self._check_edge()
        subtree = (_HEIGHT * level, number)
        return edge[self._peaks.index(subtree)] if subtree in self._peaks else None
