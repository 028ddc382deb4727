"""Merkle trees of RFC 6962, section 2, as pure functions.

Everything here is arithmetic on *perfect* subtrees: ``node(height, i)`` is the hash of leaves
``i * 2**height`` up to, not including, ``(i + 1) * 2**height``. A tree of any size is a row of such
subtrees, largest first.

The paths are those of RFC 6962, sections 2.1.1 and 2.1.2; ``verifier`` checks them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from stages.index.verifier import EMPTY_ROOT, node_hash

Node = Callable[[int, int], bytes]


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """The root over 2**k hashes, k >= 0."""
    while len(hashes) > 1:
        pairs = iter(hashes)
        hashes = [node_hash(left, right) for left, right in zip(pairs, pairs, strict=True)]
    return hashes[0]


def perfect_parts(lo: int, hi: int) -> Iterator[tuple[int, int]]:
    """Leaves lo..hi-1 as perfect subtrees (height, i), left to right.

    Largest first, as RFC 6962 splits: lo is a multiple of the largest power of two in hi - lo.
    """
    while lo < hi:
        height = (hi - lo).bit_length() - 1
        yield height, lo >> height
        lo += 1 << height


def range_root(lo: int, hi: int, node: Node) -> bytes:
    """MTH(D[lo:hi]) for a range that is a subtree of some RFC 6962 tree."""
    parts = [node(height, i) for height, i in perfect_parts(lo, hi)]
    return fold(parts) if parts else EMPTY_ROOT


def fold(parts: Sequence[bytes]) -> bytes:
    """The root over the hashes of perfect subtrees of falling height: the smallest are joined first."""
    root = parts[-1]
    for part in reversed(parts[:-1]):
        root = node_hash(part, root)
    return root


def inclusion_path(index: int, size: int, node: Node) -> tuple[bytes, ...]:
    """PATH(index, D[size]): siblings from the leaf up to the root's child."""
    if not 0 <= index < size:
        raise ValueError(f"a log of {size} records has no record {index}")
    path = []
    lo, hi = 0, size
    while hi - lo > 1:
        middle = lo + _split(hi - lo)
        if index < middle:
            path.append(range_root(middle, hi, node))
            hi = middle
        else:
            path.append(range_root(lo, middle, node))
            lo = middle
    return tuple(reversed(path))


def consistency_path(old: int, new: int, node: Node) -> tuple[bytes, ...]:
    """PROOF(old, D[new]); empty where one of the trees is empty."""
    if not 0 <= old <= new:
        raise ValueError(f"no log of {new} records grew from one of {old}")
    if old in (0, new):
        return ()
    path = []
    lo, hi = 0, new
    while old < hi:
        middle = lo + _split(hi - lo)
        if old <= middle:
            path.append(range_root(middle, hi, node))
            hi = middle
        else:
            path.append(range_root(lo, middle, node))
            lo = middle
    if lo > 0:  # otherwise the old root is this subtree, and the verifier has it
        path.append(range_root(lo, hi, node))
    return tuple(reversed(path))


def _split(n: int) -> int:
    """The largest power of two below n; n > 1."""
    return 1 << ((n - 1).bit_length() - 1)
