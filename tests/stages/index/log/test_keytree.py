"""The key tree against a recursive oracle, and what it proves."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.index.log import keytree
from stages.index.log.keytree import EMPTY, KeyTree, grown, root, row, shrunk
from stages.index.verifier import EMPTY_KEYS, HASH_BYTES, KEY_LEAF, verify_key

KEYS = [i.to_bytes(32, "big") for i in range(400)]
ROWS = [row(key, number) for number, key in enumerate(KEYS)]
# Ways that share long beginnings, which no real keys would have.
STEMS = [bytes(32), b"\xff" * 32, bytes(31) + b"\1", bytes(16) + b"\x80" + bytes(15), b"\x80" + bytes(31)]


def oracle(rows: list[bytes], depth: int = 0) -> bytes:
    """The definition, word for word."""
    if not rows:
        return bytes(32)
    if len(rows) == 1:
        return sha256(b"\x02" + rows[0]).digest()
    halves: tuple[list[bytes], list[bytes]] = ([], [])
    for one in rows:
        halves[one[depth // 8] >> 7 - depth % 8 & 1].append(one)
    return sha256(b"\x03" + oracle(halves[0], depth + 1) + oracle(halves[1], depth + 1)).digest()


def test_the_smallest_trees_are_what_is_written_down() -> None:
    """None, one, and two keys whose ways part at the first turn or at the third."""
    assert EMPTY.root == EMPTY_KEYS == bytes(32)
    left, right, inner = bytes(32), b"\x80" + bytes(31), b"\x20" + bytes(31)
    one, two, three = (KEY_LEAF.pack(way, n) for n, way in enumerate((left, right, inner)))
    hashed = [sha256(b"\x02" + leaf).digest() for leaf in (one, two, three)]
    assert grown(EMPTY, [one]).root == hashed[0]
    assert grown(EMPTY, [two, one]).root == sha256(b"\x03" + hashed[0] + hashed[1]).digest()
    deep = sha256(b"\x03" + hashed[0] + hashed[2]).digest()
    for _ in range(2):
        deep = sha256(b"\x03" + deep + bytes(32)).digest()
    assert grown(EMPTY, [one, three]).root == deep
    assert row(b"key", 5) == sha256(b"key").digest() + (5).to_bytes(8, "big")


def test_a_known_tree_keeps_its_root() -> None:
    """A hundred keys: what the log's signature of them must not cease to fit."""
    known = "e680b24fea00dbe3c38813ee3c5fb00672799f2e34a78b39a0a99662ab3aadbf"
    assert grown(EMPTY, ROWS[:100]).root.hex() == known


@pytest.mark.parametrize("count", [0, 1, 2, 3, 16, 31, 32, 33, 63, 64, 65, 255, 400])
def test_every_size_has_the_oracles_root(count: int) -> None:
    """With and without buckets, at once and in any number of steps."""
    tree = grown(EMPTY, ROWS[:count])
    assert tree.root == oracle(ROWS[:count]) == root(sorted(ROWS[:count]))
    assert grown(grown(EMPTY, ROWS[: count // 3]), ROWS[count // 3 : count]) == tree
    by_ones = EMPTY
    for one in ROWS[:count:7]:
        by_ones = grown(by_ones, [one])
    assert by_ones.root == oracle(ROWS[:count:7])


@given(
    st.lists(
        st.sampled_from(STEMS)
        | st.binary(min_size=32, max_size=32)
        | st.sampled_from(ROWS).map(lambda one: one[:32]),
        unique=True,
        max_size=80,
    ),
    st.integers(0, 80),
)
def test_any_ways_have_the_oracles_root(ways: list[bytes], cut: int) -> None:
    """However long their common beginnings, and whatever bytes they are."""
    rows = [KEY_LEAF.pack(way, number) for number, way in enumerate(ways)]
    assert grown(grown(EMPTY, rows[:cut]), rows[cut:]).root == oracle(rows)


@given(st.sets(st.sampled_from(KEYS), max_size=60), st.sampled_from(KEYS))
def test_a_key_is_proven_there_exactly_if_it_is(keys: set[bytes], asked: bytes) -> None:
    """The proof verifies; its leaf is the key's own or not."""
    numbered = {key: number for number, key in enumerate(sorted(keys))}
    tree = grown(EMPTY, [row(key, number) for key, number in numbered.items()])
    leaf, path = tree.prove(asked)
    assert verify_key(asked, leaf, path, tree.root)
    assert (leaf == row(asked, numbered.get(asked, -1) % 2**64)) == (asked in keys)
    assert (leaf[:HASH_BYTES] == sha256(asked).digest()) == (asked in keys)


def test_every_key_of_a_tree_with_buckets_is_proven() -> None:
    """And each that is not in it; a path is about as long as the tree is high."""
    tree = grown(EMPTY, ROWS[:300])
    for number, key in enumerate(KEYS):
        leaf, path = tree.prove(key)
        assert verify_key(key, leaf, path, tree.root)
        assert (leaf == ROWS[number]) == (number < 300)
        assert len(path) < 30


@given(st.sampled_from(KEYS[:350]), st.data())
def test_no_other_proof_verifies(key: bytes, data: st.DataObject) -> None:
    """Any part changed, dropped, doubled or taken from another key's proof."""
    tree = TREE
    leaf, path = tree.prove(key)
    other_leaf, other_path = tree.prove(data.draw(st.sampled_from(KEYS)))
    place = data.draw(st.integers(0, len(path) - 1))
    flipped = bytes([path[place][0] ^ 1]) + path[place][1:]
    wrong = [
        (leaf, path[:place] + path[place + 1 :]),
        (leaf, (*path[:place], flipped, *path[place + 1 :])),
        (leaf, (*path, path[place])),
        (other_leaf, path),
        (leaf, other_path),
        (b"", path),
        (leaf[:-1] + bytes([leaf[-1] ^ 1]) if leaf else ROWS[0], path),
        (leaf[:32], path),
        (leaf, (*path[:place], path[place][:-1], *path[place + 1 :])),
    ]
    for one in wrong:
        if one != (leaf, path):
            assert not verify_key(key, *one, tree.root), one
    assert not verify_key(key, leaf, path, EMPTY_KEYS)


TREE = grown(EMPTY, ROWS[:300])


def test_of_a_key_that_comes_twice_the_first_counts() -> None:
    """Within one step and across steps."""
    again = [row(KEYS[3], 77), row(KEYS[5], 78)]
    assert grown(EMPTY, ROWS[:50] + again) == grown(EMPTY, ROWS[:50])
    assert grown(grown(EMPTY, ROWS[:50]), again) == grown(EMPTY, ROWS[:50])


@pytest.mark.parametrize("size", [0, 1, 2, 15, 100, 255, 256, 299, 300])
def test_a_tree_of_more_records_holds_that_of_fewer(size: int) -> None:
    """Byte for byte, whether or not the number of buckets changes."""
    assert shrunk(TREE, size) == grown(EMPTY, ROWS[:size])


def test_untouched_buckets_are_not_hashed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One key more costs one bucket."""
    touched: list[int] = []
    honest = root
    monkeypatch.setattr(
        keytree, "root", lambda rows, depth=0: touched.append(len(rows)) or honest(rows, depth)
    )
    tree = grown(EMPTY, ROWS[:300])
    assert len(touched) == 16
    assert isinstance(tree, KeyTree)
    touched.clear()
    assert grown(tree, ROWS[300:301]).root == oracle(ROWS[:301])
    assert len(touched) == 1


@pytest.mark.parametrize("crowd", [b"\x00", b"\x7f", b"\x80", b"\xc0", b"\xff"])
@pytest.mark.parametrize("lone", [None, b"\x00", b"\x40", b"\x80", b"\xff"])
def test_a_crowd_in_one_bucket_has_the_oracles_root(crowd: bytes, lone: bytes | None) -> None:
    """Buckets beside it hold one row or none, and so do whole halves of the tree."""
    ways = [crowd * 4 + number.to_bytes(28, "big") for number in range(150)]
    ways += [] if lone is None else [lone + b"\x01" * 31]
    rows = [KEY_LEAF.pack(way, number) for number, way in enumerate(ways)]
    assert grown(EMPTY, rows).root == oracle(rows)
