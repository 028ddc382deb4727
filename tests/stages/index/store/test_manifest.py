"""The manifest: which rows are committed, whatever follows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.index.errors import DamagedError
from stages.index.store.manifest import MANIFEST, ROW_BYTES, BlockKind, Extent, Manifest, decode_row

ROWS = [Extent(first, 3, 0, 100 * first, 300, 7, BlockKind.WHOLE, bytes(32)) for first in range(0, 30, 3)]


def manifest(directory: Path, tail: bytes = b"", rows: int = len(ROWS)) -> Path:
    path = directory / MANIFEST
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(row.encode() for row in ROWS[:rows]) + tail)
    return directory


def test_a_row_is_as_documented() -> None:
    """Seven little-endian numbers, the block's digest and the row's own."""
    data = Extent(1, 2, 3, 4, 5, 6, BlockKind.ERASED, b"d" * 32).encode()
    assert len(data) == ROW_BYTES == 108
    numbers = [(1, 8), (2, 4), (3, 4), (4, 8), (5, 8), (6, 8), (1, 4)]
    assert data[:76] == b"".join(number.to_bytes(size, "little") for number, size in numbers) + b"d" * 32


@given(st.integers(0, 8 * ROW_BYTES - 1))
def test_a_row_with_any_bit_changed_is_none(bit: int) -> None:
    """Its own digest tells."""
    data = (int.from_bytes(ROWS[4].encode(), "big") ^ 1 << bit).to_bytes(ROW_BYTES, "big")
    assert decode_row(data) is None


@pytest.mark.parametrize(
    "tail",
    [b"", b"torn", bytes(ROW_BYTES), bytes(5 * ROW_BYTES), ROWS[-1].encode()[:-1] + b"x", b"\xff" * 400],
)
def test_an_unfinished_tail_is_not_part_of_the_log(tmp_path: Path, tail: bytes) -> None:
    """The checkpoint's size decides; torn, zero-filled and later rows are beyond it."""
    whole = Manifest(manifest(tmp_path, tail), 30)
    assert list(whole) == ROWS
    assert list(Manifest(tmp_path, 12)) == ROWS[:4]
    assert len(Manifest(tmp_path, 0)) == 0


def test_records_are_found_in_their_blocks(tmp_path: Path) -> None:
    """Bisection ends at the block that holds the record."""
    rows = Manifest(manifest(tmp_path), 30)
    assert [rows.find(index) for index in range(30)] == [index // 3 for index in range(30)]


@pytest.mark.parametrize("rows", [0, 9])
def test_a_manifest_that_ends_early_is_damage(tmp_path: Path, rows: int) -> None:
    """The checkpoint promises more than it says."""
    with pytest.raises(DamagedError, match="does not end with record 29"):
        Manifest(manifest(tmp_path, rows=rows), 30)


def test_a_checkpoint_inside_a_block_is_damage(tmp_path: Path) -> None:
    """Blocks are committed whole."""
    with pytest.raises(DamagedError, match="does not end with record 28"):
        Manifest(manifest(tmp_path), 29)


def test_a_missing_manifest_is_damage(tmp_path: Path) -> None:
    """Of a log that has records."""
    with pytest.raises(DamagedError, match="is missing"):
        Manifest(tmp_path, 30)
