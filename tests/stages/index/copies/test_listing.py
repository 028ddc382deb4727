"""The listing leads to the manifest, whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.index.copies.listing import check_rows, chunks_of, decode_chunk, decode_listing, encode_listing
from stages.index.errors import DamagedError
from stages.index.store.manifest import BlockKind, Extent
from stages.index.store.tiles import WIDTH, Edge, Tiles, grow, grown_tiles, tile_path


def rows_of(counts: list[int]) -> list[Extent]:
    """Blocks of so many records, two in each segment."""
    rows, first = [], 0
    for number, count in enumerate(counts):
        where = (number // 2, number % 2 * 100, 100)
        rows.append(Extent(first, count, *where, number, BlockKind.WHOLE, sha256(bytes([number])).digest()))
        first += count
    return rows


COUNTS = st.lists(st.integers(1, 300), max_size=20)


@settings(max_examples=50)
@given(COUNTS, st.integers(1, 7))
def test_every_row_comes_back_in_order(counts: list[int], width: int) -> None:
    """Whatever the number of chunks."""
    rows = rows_of(counts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stages.index.copies.listing.CHUNK_ROWS", width)
        chunks = chunks_of(rows)
    names = decode_listing(encode_listing(list(chunks)), "listing/x")
    assert [row for name in names for row in decode_chunk(chunks[name], name)] == rows
    check_rows(rows, sum(counts), "listing/x")


@settings(max_examples=50)
@given(st.binary(min_size=1, max_size=200) | st.text(min_size=1, max_size=200).map(str.encode))
def test_what_is_no_listing_is_refused(data: bytes) -> None:
    """And does not crash."""
    with pytest.raises(DamagedError):
        decode_listing(data, "listing/x")
    with pytest.raises(DamagedError):
        decode_chunk(data, f"manifest/{sha256(data).hexdigest()}")


@settings(max_examples=50)
@given(COUNTS.filter(lambda counts: len(counts) > 1), st.data())
def test_rows_that_do_not_fit_are_refused(counts: list[int], data: st.DataObject) -> None:
    """A row lost, doubled, exchanged or laid over another."""
    rows, size = rows_of(counts), sum(counts)
    at = data.draw(st.integers(1, len(rows) - 1))
    over = replace(rows[at], segment=rows[at - 1].segment, offset=rows[at - 1].offset + 1)
    for wrong in (
        rows[:at] + rows[at + 1 :],
        rows[:at] + rows[at - 1 :],
        rows[at:] + rows[:at],
        [*rows[:at], over, *rows[at + 1 :]],
    ):
        with pytest.raises(DamagedError):
            check_rows(wrong, size, "listing/x")


@settings(max_examples=50)
@given(st.integers(0, 1100), st.integers(0, 1100))
def test_the_tiles_that_grew_are_those_that_appending_writes(old: int, more: int) -> None:
    """The same paths as the writer's, each once, and what is above a hash tile before it."""
    before, _ = grow(Edge(), [b"%d" % number for number in range(old)])
    _, written = grow(before, [b"%d" % number for number in range(more)])
    tiles = Tiles(None, old + more)  # type: ignore[arg-type]  # nothing is read
    found = list(grown_tiles(old, old + more))
    assert sorted(tile_path(*one, tiles.width(*one)) for one in found) == sorted(one.path for one in written)
    levels = [WIDTH if level is None else -level for level, _ in found]
    assert levels == sorted(levels)


def test_a_block_lies_within_what_a_segment_can_be() -> None:
    """The bounds are taken, one byte more is refused before a file of that length is made."""
    (row,) = rows_of([3])
    check_rows([replace(row, offset=1 << 40, length=1 << 31)], 3, "listing/x")
    for wrong in (replace(row, offset=(1 << 40) + 1), replace(row, length=(1 << 31) + 1)):
        with pytest.raises(DamagedError, match="no block can lie"):
            check_rows([wrong], 3, "listing/x")
