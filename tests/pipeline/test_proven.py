"""Leaf hashes are what the signed root says, whatever the size of the tree and whichever tile is changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.proven import ProvenTree, check_prefix, root_at
from stages.batches import Rows, Sealed
from stages.index.errors import DamagedError
from stages.index.note import Checkpoint
from stages.index.reader import open_reader
from stages.index.tree import leaf_hash
from stages.index.writer import IndexOptions, open_writer
from tests.pipeline.encrypted import record_key


def grown(directory: Path, *counts: int) -> Path:
    """A log of blocks of so many records, whose ciphertexts are nothing in particular."""
    with open_writer(directory, IndexOptions()) as writer:
        for number, count in enumerate(counts):
            keys = tuple(record_key(number, row) for row in range(count))
            columns_ND = np.full((count, 2), number, np.uint32)
            writer.append(Sealed(Rows(keys, keys, keys, keys), b"h", np.ones((2, 3), np.uint32), columns_ND))
    return directory


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two full tiles and a part of a third."""
    return grown(tmp_path_factory.mktemp("log") / "log", 100, 412, 30)


@pytest.mark.parametrize("counts", [(1,), (255,), (256,), (257,), (100, 412, 30)])
def test_every_leaf_hash_is_that_of_its_record(tmp_path: Path, counts: tuple[int, ...]) -> None:
    """With no, one and two full tiles, and none that is not full."""
    reader = open_reader(grown(tmp_path / "log", *counts))
    tree = ProvenTree(tmp_path / "log", reader)
    for index in range(reader.size):
        assert tree.leaf_hash(index) == leaf_hash(reader.prove(index).record)


@pytest.mark.parametrize(
    ("tile", "index"), [("tile/0/000", 7), ("tile/0/001", 300), ("tile/0/002.p/30", 520)]
)
def test_a_changed_tile_is_found(log: Path, tmp_path: Path, tile: str, index: int) -> None:
    """One bit of one hash, in a full tile or in one that is not."""
    copy = Path(shutil.copytree(log, tmp_path / "log"))
    data = bytearray((copy / tile).read_bytes())
    data[index % 256 * 32] ^= 1
    (copy / tile).write_bytes(data)
    reader = open_reader(copy)

    def ask() -> bytes:
        return ProvenTree(copy, reader).leaf_hash(index)

    with pytest.raises(DamagedError, match="lead to the signed root"):
        ask()


def test_a_changed_tile_higher_up_is_found(log: Path, tmp_path: Path) -> None:
    """The hashes of full tiles are held against the root, too."""
    copy = Path(shutil.copytree(log, tmp_path / "log"))
    (tile,) = (copy / "tile" / "1").rglob("2")
    data = bytearray(tile.read_bytes())
    data[40] ^= 1
    tile.write_bytes(data)
    reader = open_reader(copy)
    with pytest.raises(DamagedError):
        ProvenTree(copy, reader)


def test_earlier_roots_are_known_and_others_are_not(log: Path) -> None:
    """Every size that was a checkpoint, and no other root for it; a state that never was has none."""
    reader = open_reader(log)
    for size in (100, 512, 542):
        check_prefix(log, reader, Checkpoint("x", size, root_at(log, reader, size)), "it")
        assert len(root_at(log, reader, size)) == 32
        with pytest.raises(ValueError, match="roots differ"):
            check_prefix(log, reader, Checkpoint("x", size, bytes(32)), "it")
    assert root_at(log, reader, 520) == b""  # never a checkpoint, and its tile has no such state
