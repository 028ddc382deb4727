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
from stages.encrypt.lwe.parameters import LWE64
from stages.encrypt.lwe.wire import Header
from stages.index.errors import DamagedError
from stages.index.log.leaf import decode_leaf
from stages.index.store.blocks import SCHEMA, Statements, StoredBlock, block_of, decode_block, encode_block
from stages.index.store.manifest import MANIFEST, BlockKind, Extent, segment_path
from stages.index.store.segments import Segments, check_extent, read_extent

MakeBlock = Callable[..., Sealed]


STATEMENTS = Statements(3, tuple(bytes([number]) * (number + 1) for number in range(5)))


def extent_of(block: StoredBlock | Statements, offset: int, data: bytes) -> Extent:
    kind = (
        BlockKind.STATEMENTS
        if isinstance(block, Statements)
        else BlockKind.ERASED
        if block.erased
        else BlockKind.WHOLE
    )
    digest = sha256(data).digest()
    return Extent(block.first_index, len(block), 0, offset, len(data), 7, kind, digest)


def store(directory: Path, blocks: list[StoredBlock | Statements]) -> list[Extent]:
    """The blocks in one segment and a manifest, as the writer lays them."""
    extents, data = [], b""
    for block in blocks:
        one = bytes(encode_block(block, opens_segment=not data))
        extents.append(extent_of(block, len(data), one))
        data += one
    path = directory / segment_path(0)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    (directory / MANIFEST).write_bytes(b"".join(extent.encode() for extent in extents))
    return extents


def same(block: StoredBlock | Statements, sealed: Sealed, rows: list[int]) -> bool:
    return (
        isinstance(block, StoredBlock)
        and block.keys == tuple(sealed.rows.keys[row] for row in rows)
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
    segments = Segments(tmp_path, 10)
    assert same(segments.block(0), one, list(range(7)))
    assert same(segments.block(1), two, [0])
    assert same(segments.block(2), three, [1, 3])
    assert same(segments.peek(extents[2]), three, [1, 3])


def test_a_segment_is_an_arrow_stream(tmp_path: Path, make_block: MakeBlock) -> None:
    """Any Arrow reader can open it: one row per block."""
    store(tmp_path, [block_of(make_block(seed, 3), range(3), 3 * seed) for seed in range(4)])
    table = pa.ipc.open_stream((tmp_path / segment_path(0)).read_bytes()).read_all()
    assert table.schema == SCHEMA
    assert table.num_rows == 4


def test_the_arrays_are_views_of_the_file(tmp_path: Path, make_block: MakeBlock) -> None:
    """Aligned, read-only, not copied: what changes in the file changes in the array."""
    sealed = make_block(1, 7)
    store(tmp_path, [block_of(sealed, range(7), 0)])
    block = Segments(tmp_path, 7).block(0)
    assert isinstance(block, StoredBlock)
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
    block = block_of(sealed, [2, 5], 0)
    leaf = block.leaf(1)
    assert (leaf.key, leaf.position) == (sealed.rows.keys[5], 5)
    words = (sealed.columns_ND[5], sealed.head_Dn)
    assert [leaf.column, leaf.head] == [sha256(word.astype("<u4").tobytes()).digest() for word in words]
    texts = (sealed.header, sealed.rows.sealed[5])
    assert [leaf.header, leaf.sealed] == [sha256(text).digest() for text in texts]
    assert [decode_leaf(entry) for entry in block.entries()] == [block.leaf(0), leaf]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_bytes_decode_to_damage_or_to_a_block(make_block: MakeBlock, data: st.DataObject) -> None:
    """Whatever is flipped, cut or zeroed, decoding ends in DamagedError or in a block of the right size."""
    block = block_of(make_block(1, 5), range(5), 0)
    kind = data.draw(st.sampled_from(["whole", "erased", "statements"]))
    any_block = {"whole": block, "erased": block.without({1: 9, 4: 8}), "statements": STATEMENTS}[kind]
    good = bytes(encode_block(any_block, opens_segment=True))
    extent = extent_of(any_block, 0, good)
    bad = bytearray(good)
    for place in data.draw(st.lists(st.integers(0, len(good) - 1), max_size=4)):
        bad[place] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(good)))
    bad = bad[:cut] + bytes(data.draw(st.sampled_from([0, len(good) - cut])))
    with suppress(DamagedError):
        assert len(decode_block(bytes(bad), extent).entries()) == 5


def test_a_damaged_block_is_refused(tmp_path: Path, make_block: MakeBlock) -> None:
    """Before its bytes are looked at."""
    (extent,) = store(tmp_path, [block_of(make_block(1, 5), range(5), 0)])
    path = tmp_path / segment_path(0)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedError, match="records 0 to 4"):
        Segments(tmp_path, 5).block(0)
    with pytest.raises(DamagedError, match="records 0 to 4"):
        check_extent(read_extent(tmp_path, extent), extent)


def test_a_cut_or_missing_segment_is_refused(tmp_path: Path, make_block: MakeBlock) -> None:
    """Instead of a fault in the memory map."""
    (extent,) = store(tmp_path, [block_of(make_block(1, 5), range(5), 0)])
    path = tmp_path / segment_path(0)
    path.write_bytes(path.read_bytes()[:-1])
    for read in (lambda: Segments(tmp_path, 5).block(0), lambda: read_extent(tmp_path, extent)):
        with pytest.raises(DamagedError, match="ends before"):
            read()
    path.unlink()
    for read in (lambda: Segments(tmp_path, 5).block(0), lambda: read_extent(tmp_path, extent)):
        with pytest.raises(DamagedError, match="is missing"):
            read()


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [1, 4]])
def test_blocks_of_64_bit_words_come_back_as_they_were(tmp_path: Path, rows: list[int]) -> None:
    """The header says how wide words are; their bytes, and so their digests, are those of the words."""
    header = Header(LWE64, bytes(32), dimensions=3, scale=8000, slot=0, count=5).encode()
    random, keys = np.random.default_rng(0), tuple(bytes([row]) * 32 for row in range(5))
    words = [random.integers(0, 2**64, shape, np.uint64) for shape in ((3, LWE64.n), (5, 3))]
    sealed = Sealed(Rows(keys, keys, keys, keys), header, *words)
    (extent,) = store(tmp_path, [block_of(sealed, rows, 0)])
    assert extent.stop == len(rows)
    block = Segments(tmp_path, len(rows)).block(0)
    assert same(block, sealed, rows)
    assert isinstance(block, StoredBlock)
    assert block.head_Dn.dtype == block.columns_ND.dtype == np.uint64
    assert words[0].tobytes() in read_extent(tmp_path, extent)
    assert [block.leaf(row).column for row in range(len(rows))] == [
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
            block_of(Sealed(rows, b"header", head_Dn, columns_ND), range(5), 0)
    with pytest.raises(ValueError, match="wire header"):
        block_of(Sealed(rows, b"", sealed.head_Dn, sealed.columns_ND), range(5), 0)


def test_erased_records_leave_nothing_behind(tmp_path: Path, make_block: MakeBlock) -> None:
    """Neither column nor metadata; the others are as they were, in their rows."""
    sealed = make_block(1, 7)
    block = block_of(sealed, range(7), 10).without({0: 17, 3: 18}).without({4: 19})
    store(tmp_path, [block, block_of(make_block(2, 3), range(3), 17)])
    data = (tmp_path / segment_path(0)).read_bytes()
    for row in (0, 3, 4):
        assert sealed.columns_ND[row].tobytes() not in data
        assert len(sealed.rows.sealed[row]) < 4 or sealed.rows.sealed[row] not in data
    found = Segments(tmp_path, 20).block(0)
    assert isinstance(found, StoredBlock)
    assert [found.eraser(row) for row in range(7)] == [17, None, None, 18, 19, None, None]
    whole = block_of(sealed, range(7), 10)
    assert found.entries() == whole.entries()
    parts = list(found.parts())
    assert [(part.first_index, len(part)) for part in parts] == [(11, 2), (15, 2)]
    assert same(parts[0], sealed, [1, 2])
    assert same(parts[1], sealed, [5, 6])


def test_a_block_that_lost_all_its_records_loses_its_head(make_block: MakeBlock) -> None:
    """Nobody needs it any more."""
    sealed = make_block(1, 3)
    block = block_of(sealed, range(3), 0).without({0: 3, 1: 4, 2: 5})
    data = bytes(encode_block(block, opens_segment=True))
    assert sealed.head_Dn.tobytes() not in data
    found = decode_block(data, extent_of(block, 0, data))
    assert isinstance(found, StoredBlock)
    assert (list(found.parts()), found.keys) == ([], sealed.rows.keys)
    assert found.entries() == block_of(sealed, range(3), 0).entries()


def test_statements_come_back_as_they_were() -> None:
    """Entries that are no records are stored as they are."""
    data = bytes(encode_block(STATEMENTS, opens_segment=False))
    assert decode_block(data, extent_of(STATEMENTS, 0, data)) == STATEMENTS
