"""The key tree: the keys (record ids) of a log as a prefix tree over SHA-256(key), to prove absence.

Each bit of the hash selects left or right, the first bit at the root. A subtree without a key is 32 zero
bytes, one with a single key is that key's leaf hash at any height, any other is the hash of its two halves.
``root`` is this sentence as a recursion. ``KeyTree`` is the same over a table of rows with the upper levels
stored: to prove or to add a key reads one bucket of about 32 rows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stages.index.verifier import EMPTY_KEYS, HASH_BYTES, KEY_LEAF, key_leaf_hash, key_node_hash

ROW: Final = np.dtype([("way", ">u8", 4), ("number", ">u8")])  # the bytes are those of KEY_LEAF
ROW_BYTES: Final = ROW.itemsize
_BUCKET: Final = 16  # rows in a bucket on average: this many to twice as many
_BITS: Final = 8 * HASH_BYTES
_FIRST_BITS: Final = 32  # of a hash; more than any bucket number has


def row(key: bytes, number: int) -> bytes:
    """The row of a key: its way (SHA-256 of the key), and the number of its record."""
    return KEY_LEAF.pack(sha256(key).digest(), number)


def root(rows: Sequence[bytes], depth: int = 0) -> bytes:
    """The root over rows of different keys, sorted, whose ways share their first ``depth`` bits."""
    ways = [int.from_bytes(one[:HASH_BYTES], "big") for one in rows]
    return _root(ways, [key_leaf_hash(one) for one in rows], 0, len(rows), depth)


def _root(ways: list[int], leaves: list[bytes], lo: int, hi: int, depth: int) -> bytes:
    if hi - lo < 2:  # noqa: PLR2004 - one or none
        return leaves[lo] if hi > lo else EMPTY_KEYS
    middle = bisect_left(ways, _right(ways[lo], depth), lo, hi)
    left = _root(ways, leaves, lo, middle, depth + 1)
    return key_node_hash(left, _root(ways, leaves, middle, hi, depth + 1))


def _right(way: int, depth: int) -> int:
    """The first way that turns right where this one has taken ``depth`` turns."""
    rest = _BITS - 1 - depth
    return (way >> rest | 1) << rest


def bucket_bits(count: int) -> int:
    """The logarithm, to base two, of the number of buckets that a table of ``count`` rows has."""
    return max(0, (count // _BUCKET).bit_length() - 1)


@dataclass(frozen=True, slots=True)
class KeyTree:
    """Rows in the order of their ways, and the nodes above and at the buckets.

    ``nodes`` is a heap: node 1 is the root, below node i are 2 i and 2 i + 1, the buckets come last.
    """

    rows: Any  # bytes or a mapped file
    nodes: Any  # the same; HASH_BYTES each, the first unused

    def __len__(self) -> int:
        return len(self.rows) // ROW_BYTES

    @property
    def root(self) -> bytes:
        """The root hash."""
        return self._node(1)

    def prove(self, key: bytes) -> tuple[bytes, tuple[bytes, ...]]:
        """What stands where the key's way ends, and the siblings from there up; see ``verify_key``.

        Invariant: rows ``lo`` to ``hi`` are those whose ways share their first ``depth`` bits with the key's.
        The way ends as soon as at most one is left. Example, with ways of three bits: of rows 001, 010 and
        110, the way 011 turns left (aside: 110), then right (aside: 001) and ends at the row 010. That is
        another key's row, so the key is absent; the path is the hashes of 001 and of 110.
        """
        way = int.from_bytes(sha256(key).digest(), "big")
        lo, hi, number, depth = 0, len(self), 1, 0
        path = []
        while hi - lo > 1:
            right = _right(way, depth)
            middle = bisect_left(range(hi), right.to_bytes(HASH_BYTES, "big"), lo, key=self._row)
            turn = int(way >= right)
            aside, (lo, hi) = ((lo, middle), (middle, hi))[:: 1 if turn else -1]
            number, depth = 2 * number + turn, depth + 1
            path.append(self._subtree(number ^ 1, depth, *aside))
        return (self._row(lo) if hi > lo else b""), tuple(reversed(path))

    def _subtree(self, number: int, depth: int, lo: int, hi: int) -> bytes:
        if number * HASH_BYTES < len(self.nodes):
            return self._node(number)
        return root([self._row(i) for i in range(lo, hi)], depth)

    def _row(self, i: int) -> bytes:
        return bytes(self.rows[i * ROW_BYTES : (i + 1) * ROW_BYTES])

    def _node(self, number: int) -> bytes:
        return bytes(self.nodes[number * HASH_BYTES : (number + 1) * HASH_BYTES])


EMPTY: Final = KeyTree(b"", EMPTY_KEYS * 2)


def grown(tree: KeyTree, rows: Iterable[bytes]) -> KeyTree:
    """The tree with these rows too, in log order. Of a key that comes twice the first row counts."""
    table = np.frombuffer(b"".join((bytes(tree.rows), *rows)), ROW)
    begin = table["way"][:, 0].astype(np.uint64)
    order = np.argsort(begin, kind="stable")  # log order among equals; almost no time where most is sorted
    if (np.diff(begin[order]) == 0).any():
        order = np.lexsort(table["way"].T[::-1])  # ways, or a key's rows, that part later or never
    fresh = order >= len(tree)
    table = table[order]
    first = np.ones(len(table), np.bool_)
    first[1:] = (table["way"][1:] != table["way"][:-1]).any(axis=1)
    table, fresh = table[first], fresh[first]
    return _changed(tree, table, table[fresh])


def shrunk(tree: KeyTree, size: int) -> KeyTree:
    """The tree of the rows of the log's first ``size`` records, from a tree of more."""
    table = np.frombuffer(tree.rows, ROW)
    later = table["number"] >= size
    return _changed(tree, table[~later], table[later])


def _changed(tree: KeyTree, table: NDArray[np.void], different: NDArray[np.void]) -> KeyTree:
    """The tree of these rows, sorted, which are those of another tree but for the different ones."""
    bits = bucket_bits(len(table))
    starts = np.searchsorted(_buckets(table, bits), np.arange((1 << bits) + 1))
    kept = tree.nodes if bits == bucket_bits(len(tree)) else None
    changed = np.full(1 << bits, kept is None)
    changed[_buckets(different, bits)] = True
    return KeyTree(table.tobytes(), _nodes(table, starts, changed, kept))


def _buckets(table: NDArray[np.void], bits: int) -> NDArray[np.int64]:
    """The bucket of each row, among ``2**bits``: the first bits of its way."""
    first_N: NDArray[np.int64] = (table["way"][:, 0] >> _FIRST_BITS).astype(np.int64)
    return first_N >> (_FIRST_BITS - bits)


def _nodes(
    table: NDArray[np.void], starts: NDArray[np.int64], changed: NDArray[np.bool_], kept: Any
) -> bytes:
    """The heap; unchanged buckets are copied from ``kept``."""
    width = len(changed)
    counts = [0] * width + np.diff(starts).tolist()
    nodes = [EMPTY_KEYS] * (2 * width)
    bounds = starts.tolist()
    for i in range(width):
        if changed[i]:
            rows = [one.tobytes() for one in table[bounds[i] : bounds[i + 1]]]
            nodes[width + i] = root(rows, width.bit_length() - 1)
        else:
            nodes[width + i] = bytes(kept[(width + i) * HASH_BYTES : (width + i + 1) * HASH_BYTES])
    for i in range(width - 1, 0, -1):
        left, right = nodes[2 * i], nodes[2 * i + 1]
        counts[i] = counts[2 * i] + counts[2 * i + 1]
        if counts[i] > 1:
            nodes[i] = key_node_hash(left, right)
        else:
            nodes[i] = right if left == EMPTY_KEYS else left
    return b"".join(nodes)
