"""Merkle trees of RFC 6962, section 2, as pure functions.

``leaf_hash`` and ``node_hash`` separate their domains (0x00, 0x01). Everything else is arithmetic on
*perfect* subtrees: ``node(height, i)`` is the hash of leaves ``i * 2**height`` up to, not including,
``(i + 1) * 2**height``. A tree of any size is a row of such subtrees, largest first.

The paths are those of RFC 6962, sections 2.1.1 and 2.1.2; the checks are the algorithms of RFC 9162,
sections 2.1.3.2 and 2.1.4.2. A check answers True or False for any input and never raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256().digest()

Node = Callable[[int, int], bytes]


def leaf_hash(record: bytes) -> bytes:
    """The hash of one leaf."""
    return sha256(b"\x00" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


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
    """PROOF(old, D[new]); empty where either tree says nothing about the other."""
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


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf with this hash is number ``index`` under the root of a log of ``size``."""
    if not 0 <= index < size or not _are_hashes(leaf, root, *path):
        return False
    fn, sn, r = index, size - 1, leaf  # the names of RFC 9162
    for p in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            fn, sn = _up_to_right_child(fn, sn)
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == root


def verify_consistency(old: int, new: int, path: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Whether the log of ``new`` under new_root begins with the log of ``old`` under old_root."""
    if not 0 <= old <= new or not _are_hashes(old_root, new_root, *path):
        return False
    if old == new:
        return not path and old_root == new_root
    if old == 0:
        return not path and old_root == EMPTY_ROOT
    if old & (old - 1) == 0:  # a power of two: the old root itself is the first node
        path = (old_root, *path)
    if not path:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            fn, sn = _up_to_right_child(fn, sn)
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == old_root and sr == new_root


def _split(n: int) -> int:
    """The largest power of two below n; n > 1."""
    return 1 << ((n - 1).bit_length() - 1)


def _up_to_right_child(fn: int, sn: int) -> tuple[int, int]:
    """Skip levels at which the right edge has no sibling."""
    while fn and not fn & 1:
        fn, sn = fn >> 1, sn >> 1
    return fn, sn


def _are_hashes(*hashes: bytes) -> bool:
    return all(len(one) == HASH_BYTES for one in hashes)
