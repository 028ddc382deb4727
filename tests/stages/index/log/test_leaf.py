"""The leaf record's bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.index.log.leaf import LEAF_BYTES, MAX_POSITION, Leaf, LeafError, decode_leaf

DIGEST = st.binary(min_size=32, max_size=32)
LEAVES = st.builds(Leaf, DIGEST, st.integers(0, MAX_POSITION), DIGEST, DIGEST, DIGEST, DIGEST)


def test_the_bytes_are_as_documented() -> None:
    """Version, kind, key, position little-endian, then four digests."""
    parts = [bytes([letter]) * 32 for letter in b"kchHs"]
    key, column, head, header, sealed = parts
    record = Leaf(key, 0x01020304, column, head, header, sealed).encode()
    assert record == b"\x01\x01" + key + b"\x04\x03\x02\x01" + column + head + header + sealed
    assert len(record) == LEAF_BYTES == 166


@given(LEAVES)
def test_a_leaf_survives_its_bytes(leaf: Leaf) -> None:
    """Decoding undoes encoding."""
    assert decode_leaf(leaf.encode()) == leaf


@given(st.binary(max_size=200))
def test_other_bytes_are_no_leaf(data: bytes) -> None:
    """Bytes are a leaf exactly when encoding it gives them back."""
    try:
        assert decode_leaf(data).encode() == data
    except LeafError:
        assert len(data) != LEAF_BYTES or data[:2] != b"\x01\x01"


def test_a_key_of_another_length_is_refused() -> None:
    """It would be padded silently."""
    with pytest.raises(LeafError, match="a record id has 32 bytes, not 31"):
        Leaf(bytes(31), 0, *[bytes(32)] * 4)


@pytest.mark.parametrize("start", [b"\x02\x01", b"\x00\x01", b"\x01\x02", b"\x01\x00"])
def test_a_leaf_of_another_version_or_kind_is_refused(start: bytes) -> None:
    """Its length is that of a record, its fields may mean something else."""
    with pytest.raises(LeafError, match=f"leaf records of version {start[0]} and kind {start[1]}"):
        decode_leaf(start + bytes(LEAF_BYTES - 2))
