"""The tree against RFC 6962's known answers and a recursive oracle."""

from __future__ import annotations

from functools import cache
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.index.log.tree import consistency_path, inclusion_path, perfect_parts, range_root
from stages.index.verifier import EMPTY_ROOT, leaf_hash, node_hash, verify_consistency, verify_inclusion

# The test data of Certificate Transparency's reference implementation.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAF_0 = ROOTS[0]
LEAF_1 = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
LEAF_4 = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
NODE_2_3 = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
NODE_4_5 = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
NODE_6_7 = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
NODE_4_7 = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
NODE_0_3 = ROOTS[3]
INCLUSION = [  # index, size, path
    (0, 1, []),
    (0, 8, [LEAF_1, NODE_2_3, NODE_4_7]),
    (5, 8, [LEAF_4, NODE_6_7, NODE_0_3]),
    (2, 3, [ROOTS[1]]),
    (1, 5, [LEAF_0, NODE_2_3, LEAF_4]),
]
CONSISTENCY = [  # old, new, path
    (1, 1, []),
    (1, 8, [LEAF_1, NODE_2_3, NODE_4_7]),
    (6, 8, [NODE_4_5, NODE_6_7, NODE_0_3]),
    (2, 5, [NODE_2_3, LEAF_4]),
]


def mth(leaves: tuple[bytes, ...]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


class Memory:
    """Leaves in memory, and hashes of their perfect subtrees."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.leaves = tuple(leaves)
        self.node = cache(self._node)

    def _node(self, height: int, i: int) -> bytes:
        if height == 0:
            return leaf_hash(self.leaves[i])
        return node_hash(self.node(height - 1, 2 * i), self.node(height - 1, 2 * i + 1))

    def root(self, size: int) -> bytes:
        return range_root(0, size, self.node)


NUMBERS = Memory([i.to_bytes(2, "big") for i in range(4096)])


def test_the_roots_are_those_of_certificate_transparency() -> None:
    """Every prefix of the reference leaves has its published root."""
    memory = Memory(LEAVES)
    assert [memory.root(size).hex() for size in range(1, 9)] == ROOTS
    assert memory.root(0) == EMPTY_ROOT == sha256(b"").digest()


@pytest.mark.parametrize(("index", "size", "path"), INCLUSION)
def test_the_inclusion_paths_are_those_of_certificate_transparency(
    index: int, size: int, path: list[str]
) -> None:
    """The published paths come out, and verify."""
    found = inclusion_path(index, size, Memory(LEAVES).node)
    assert [one.hex() for one in found] == path
    assert verify_inclusion(leaf_hash(LEAVES[index]), index, size, found, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("old", "new", "path"), CONSISTENCY)
def test_the_consistency_paths_are_those_of_certificate_transparency(
    old: int, new: int, path: list[str]
) -> None:
    """The published paths come out, and verify."""
    found = consistency_path(old, new, Memory(LEAVES).node)
    assert [one.hex() for one in found] == path
    roots = [bytes.fromhex(ROOTS[size - 1]) for size in (old, new)]
    assert verify_consistency(old, new, found, *roots)


def test_every_root_to_256_is_the_oracles() -> None:
    """The root from perfect subtrees is RFC 6962's recursion."""
    for size in range(257):
        assert NUMBERS.root(size) == mth(NUMBERS.leaves[:size])


def test_every_leaf_of_every_tree_to_256_is_proven() -> None:
    """The path to each leaf verifies, and its length is what the tree's shape says."""
    for size in range(1, 257):
        root = NUMBERS.root(size)
        for index in range(size):
            path = inclusion_path(index, size, NUMBERS.node)
            assert len(path) <= (size - 1).bit_length()
            assert verify_inclusion(leaf_hash(NUMBERS.leaves[index]), index, size, path, root)


def test_every_pair_of_trees_to_256_is_consistent() -> None:
    """A log's prefix is proven to be its prefix, at all sizes."""
    for new in range(257):
        for old in range(new + 1):
            path = consistency_path(old, new, NUMBERS.node)
            assert verify_consistency(old, new, path, NUMBERS.root(old), NUMBERS.root(new))


@given(st.integers(1, 4096), st.data())
def test_a_proof_does_not_hold_for_anything_else(size: int, data: st.DataObject) -> None:
    """Another leaf, index, size, root, or a path with any bit changed, is refused."""
    index = data.draw(st.integers(0, size - 1))
    root, leaf = NUMBERS.root(size), leaf_hash(NUMBERS.leaves[index])
    path = inclusion_path(index, size, NUMBERS.node)
    other = data.draw(st.integers(0, size - 1).filter(lambda i: i != index)) if size > 1 else index + 1
    assert verify_inclusion(leaf, index, size, path, root)
    assert not verify_inclusion(leaf, other, size, path, root)
    assert not verify_inclusion(leaf_hash(b"x"), index, size, path, root)
    assert not verify_inclusion(leaf, index, size, path, leaf) or size == 1
    assert not verify_inclusion(leaf, index, size, (*path, root), root)
    if path:
        assert not verify_inclusion(leaf, index, size, path[:-1], root)
        bad = list(path)
        place = data.draw(st.integers(0, len(path) - 1))
        bad[place] = _flipped(bad[place], data)
        assert not verify_inclusion(leaf, index, size, bad, root)


@given(st.integers(1, 4096), st.data())
def test_a_log_that_changed_its_past_is_not_consistent(new: int, data: st.DataObject) -> None:
    """With any root or any hash of the path changed, consistency is refused."""
    old = data.draw(st.integers(1, new))
    roots = [NUMBERS.root(old), NUMBERS.root(new)]
    path = list(consistency_path(old, new, NUMBERS.node))
    assert verify_consistency(old, new, path, *roots)
    parts = [*path, *roots]
    place = data.draw(st.integers(0, len(parts) - 1))
    parts[place] = _flipped(parts[place], data)
    assert not verify_consistency(old, new, parts[:-2], *parts[-2:])
    assert not verify_consistency(old, new, [*path, roots[0]], *roots)


@given(
    st.integers(-2, 40),
    st.integers(-2, 40),
    st.lists(st.binary(max_size=33), max_size=8),
    st.binary(max_size=33),
)
def test_nonsense_is_refused_quietly(a: int, b: int, path: list[bytes], root: bytes) -> None:
    """Whatever the numbers, lengths and hashes, a check says False and does not raise."""
    assert not verify_inclusion(leaf_hash(b"never logged"), a, b, path, root)
    assert not verify_consistency(a, b, path, root, leaf_hash(b"never logged"))


@given(st.integers(0, 2**62))
def test_a_tree_is_a_row_of_perfect_subtrees(size: int) -> None:
    """They cover it, left to right, each smaller than the one before."""
    parts = list(perfect_parts(0, size))
    ends = [0, *((i + 1) << height for height, i in parts)]
    assert [i << height for height, i in parts] == ends[:-1]
    assert ends[-1] == size
    assert [height for height, _ in parts] == sorted({height for height, _ in parts}, reverse=True)


def test_a_record_that_is_not_there_has_no_path() -> None:
    """Asking for it is a mistake, not an empty proof."""
    with pytest.raises(ValueError, match="no record 4"):
        inclusion_path(4, 4, NUMBERS.node)
    with pytest.raises(ValueError, match="grew from one of 5"):
        consistency_path(5, 4, NUMBERS.node)


def _flipped(hashed: bytes, data: st.DataObject) -> bytes:
    bit = data.draw(st.integers(0, 255))
    return (int.from_bytes(hashed, "big") ^ 1 << bit).to_bytes(32, "big")
