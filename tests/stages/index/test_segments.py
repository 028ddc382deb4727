"""Blocks in Arrow streams: exact, mapped without copies, and never trusted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.batches import Rows, Sealed
from stages.encrypt.parameters import LWE64
from stages.encrypt.wire import Header
from stages.index.errors import DamagedError
from stages.index.manifest import Extent, segment_path
from stages.index.segments import (
    SCHEMA,
    Block,
    Segments,
    block_of,
    check_extent,
    decode_block,
    encode_block,
    read_extent,
)

MakeBlock = Callable[..., Sealed]


def store(directory: Path, blocks: list[Block]) -> list[Extent]:
    """The blocks in one segment, as the writer lays them."""
    extents, data = [], b""
    for block in blocks:
        one = encode_block(block, opens_segment=not data)
        extents.append(Extent(block.first_index, len(block), 0, len(data), len(one), sha256(one).digest()))
        data += one
    path = directory / segment_path(0)
    path.parent.mkdir()
    path.write_bytes(data)
    return extents


def same(block: Block, sealed: Sealed, rows: list[int]) -> bool:
    return (
        block.keys == tuple(sealed.rows.keys[row] for row in rows)
        and tuple(block.sealed) == tuple(sealed.rows.sealed[row] for row in rows)
        and block.header == sealed.header
        and np.array_equal(block.head_Dn, sealed.head_Dn)
        and np.array_equal(block.columns_ND, sealed.columns_ND[rows])
        and block.positions_N.tolist() == rows
    )


def test_blocks_come_back_as_they_were(tmp_path: Path, make_block: MakeBlock) -> None:
    """Also where only some rows of a block were new."""
    one, two, three = make_block(1, 7), make_block(2, 1), make_block(3, 4)
    extents = store(tmp_path, [block_of(one, range(7), 0), block_of(two, [0], 7), block_of(three, [1, 3], 8)])
    segments = Segments(tmp_path)
    assert same(segments.block(extents[0]), one, list(range(7)))
    assert same(segments.block(extents[1]), two, [0])
    assert same(segments.block(extents[2]), three, [1, 3])
    assert segments.header(extents[2]) == three.header


def test_a_segment_is_an_arrow_stream(tmp_path: Path, make_block: MakeBlock) -> None:
    """Any Arrow reader can open it: one row per block."""
    store(tmp_path, [block_of(make_block(seed, 3), range(3), 3 * seed) for seed in range(4)])
    table = pa.ipc.open_stream((tmp_path / segment_path(0)).read_bytes()).read_all()
    assert table.schema == SCHEMA
    assert table.num_rows == 4


def test_the_arrays_are_views_of_the_file(tmp_path: Path, make_block: MakeBlock) -> None:
    """Aligned, read-only, not copied: what changes in the file changes in the array."""
    sealed = make_block(1, 7)
    extents = store(tmp_path, [block_of(sealed, range(7), 0)])
    block = Segments(tmp_path).block(extents[0])
    path = tmp_path / segment_path(0)
    place = path.read_bytes().index(sealed.columns_ND[3].tobytes())
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"\1\2\3\4")
    assert block.columns_ND[3, 0] == 0x04030201
    assert not block.columns_ND.flags.writeable
    assert block.columns_ND.flags.aligned


def test_leaves_name_the_exact_bytes(make_block: MakeBlock) -> None:
    """SHA-256 over little-endian words, row by row, and over header and metadata."""
    sealed = make_block(1, 7)
    leaf = block_of(sealed, [2, 5], 0).leaves()[1]
    assert (leaf.key, leaf.position) == (sealed.rows.keys[5], 5)
    words = (sealed.columns_ND[5], sealed.head_Dn)
    assert [leaf.column, leaf.head] == [sha256(word.astype("<u4").tobytes()).digest() for word in words]
    texts = (sealed.header, sealed.rows.sealed[5])
    assert [leaf.header, leaf.sealed] == [sha256(text).digest() for text in texts]
    assert block_of(sealed, [2, 5], 0).leaf(1) == leaf


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_bytes_decode_to_damage_or_to_a_block(make_block: MakeBlock, data: st.DataObject) -> None:
    """Whatever is flipped, cut or zeroed, decoding ends in DamagedError or in a block of the right size."""
    good = encode_block(block_of(make_block(1, 5), range(5), 0), opens_segment=True)
    extent = Extent(0, 5, 0, 0, len(good), sha256(good).digest())
    bad = bytearray(good)
    for place in data.draw(st.lists(st.integers(0, len(good) - 1), max_size=4)):
        bad[place] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(good)))
    bad = bad[:cut] + bytes(data.draw(st.sampled_from([0, len(good) - cut])))
    with suppress(DamagedError):
        assert len(decode_block(bytes(bad), extent).leaves()) == 5


def test_a_damaged_block_is_refused(tmp_path: Path, make_block: MakeBlock) -> None:
    """Before its bytes are looked at."""
    (extent,) = store(tmp_path, [block_of(make_block(1, 5), range(5), 0)])
    path = tmp_path / segment_path(0)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedError, match="records 0 to 4"):
        Segments(tmp_path).block(extent)
    with pytest.raises(DamagedError, match="records 0 to 4"):
        check_extent(read_extent(tmp_path, extent), extent)


def test_a_cut_or_missing_segment_is_refused(tmp_path: Path, make_block: MakeBlock) -> None:
    """Instead of a fault in the memory map."""
    (extent,) = store(tmp_path, [block_of(make_block(1, 5), range(5), 0)])
    path = tmp_path / segment_path(0)
    path.write_bytes(path.read_bytes()[:-1])
    for read in (Segments(tmp_path).block, lambda one: read_extent(tmp_path, one)):
        with pytest.raises(DamagedError, match="ends before"):
            read(extent)
    path.unlink()
    for read in (Segments(tmp_path).block, lambda one: read_extent(tmp_path, one)):
        with pytest.raises(DamagedError, match="is missing"):
            read(extent)


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [1, 4]])
def test_blocks_of_64_bit_words_come_back_as_they_were(tmp_path: Path, rows: list[int]) -> None:
    """The header says how wide words are; their bytes, and so their digests, are those of the words."""
    header = Header(LWE64, bytes(32), dimensions=3, scale=8000, slot=0, count=5).encode()
    random, keys = np.random.default_rng(0), tuple(bytes([row]) * 32 for row in range(5))
    words = [random.integers(0, 2**64, shape, np.uint64) for shape in ((3, LWE64.n), (5, 3))]
    sealed = Sealed(Rows(keys, keys, keys, keys), header, *words)
    (extent,) = store(tmp_path, [block_of(sealed, rows, 0)])
    block = Segments(tmp_path).block(extent)
    assert same(block, sealed, rows)
    assert block.head_Dn.dtype == block.columns_ND.dtype == np.uint64
    assert words[0].tobytes() in read_extent(tmp_path, extent)
    assert [leaf.column for leaf in block.leaves()] == [
        sha256(words[1][row].tobytes()).digest() for row in rows
    ]
    with pytest.raises(ValueError, match="uint64"):
        block_of(replace(sealed, head_Dn=words[0].view(np.uint32)), rows, 0)


def test_arrays_that_are_no_block_are_a_bug(make_block: MakeBlock) -> None:
    """Wrong shapes and types raise before anything is written."""
    sealed = make_block(1, 5)
    rows = sealed.rows
    for head_Dn, columns_ND in (
        (sealed.head_Dn, sealed.columns_ND[:4]),
        (sealed.head_Dn[:4], sealed.columns_ND),
        (sealed.head_Dn.reshape(-1), sealed.columns_ND),
        (sealed.head_Dn.astype(np.int64), sealed.columns_ND),
        (sealed.head_Dn, sealed.columns_ND.astype(np.float32)),
    ):
        with pytest.raises(ValueError, match="block"):
            block_of(Sealed(rows, b"", head_Dn, columns_ND), range(5), 0)
