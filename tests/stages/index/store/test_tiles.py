"""Tiles: paths and contents as tlog-tiles has them, at any size and in any steps."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.index.errors import DamagedError
from stages.index.log.tree import consistency_path, inclusion_path, range_root
from stages.index.store.tiles import (
    WIDTH,
    Edge,
    Tile,
    Tiles,
    bundle_bytes,
    grow,
    grow_tree,
    split_bundle,
    tile_path,
)
from stages.index.verifier import leaf_hash, node_hash, verify_consistency, verify_inclusion

RECORDS = [b"record %d" % i for i in range(1000)]
HASHES = [leaf_hash(record) for record in RECORDS]


def node(height: int, i: int) -> bytes:
    """The slow, obvious hash of a perfect subtree."""
    if not height:
        return HASHES[i]
    return node_hash(node(height - 1, 2 * i), node(height - 1, 2 * i + 1))


def write(directory: Path, tiles: list[Tile]) -> None:
    for tile in tiles:
        path = directory / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tile.data)


@pytest.mark.parametrize(
    ("level", "number", "width", "path"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 1234067, 256, "tile/0/x001/x234/067"),  # the specification's example
        (63, 999, 1, "tile/63/999.p/1"),
        (None, 1000, 255, "tile/entries/x001/000.p/255"),
    ],
)
def test_paths_are_those_of_the_specification(level: int | None, number: int, width: int, path: str) -> None:
    """Three digits an element, an x before all but the last, the width of partial tiles."""
    assert tile_path(level, number, width) == path


def test_a_tree_of_70000_has_the_tiles_of_the_specification() -> None:
    """273 full and a partial tile of 112 at level 0, one and 17 at level 1, one of width 1 at level 2."""
    edge, tiles = grow_tree(Edge(), [bytes(32)] * 70_000)
    widths = {level: [tile.width for tile in tiles if tile.level == level] for level in range(4)}
    assert widths == {0: [256] * 273 + [112], 1: [256, 17], 2: [1], 3: []}
    assert edge.root == grow_tree(Edge(), [bytes(32)] * 70_000)[0].root


def test_a_tree_of_256_has_a_full_tile_and_one_above_it() -> None:
    """The specification's other example."""
    _, tiles = grow_tree(Edge(), HASHES[:256])
    assert [(tile.level, tile.width) for tile in tiles] == [(0, 256), (1, 1)]
    assert tiles[1].data == node(8, 0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=6).filter(lambda steps: sum(steps) <= len(RECORDS)))
def test_the_tree_does_not_depend_on_the_steps_it_grew_in(steps: list[int]) -> None:
    """After each step: the oracle's root, proofs for any record, consistency, and the edge back from disk."""
    edge, sizes = Edge(), [0]
    with TemporaryDirectory() as name:
        for step in steps:
            edge, grown = grow(edge, RECORDS[edge.size : edge.size + step])
            write(Path(name), grown)
            sizes.append(edge.size)
        for old, new in pairwise(sizes):
            tiles = Tiles(Path(name), new)
            root = range_root(0, new, node)
            assert tiles.root() == root
            path = inclusion_path(old, new, tiles.node)
            assert verify_inclusion(HASHES[old], old, new, path, root)
            assert tiles.record(old) == RECORDS[old]
            path = consistency_path(old, new, tiles.node)
            assert verify_consistency(old, new, path, Tiles(Path(name), old).root(), root)
        assert Tiles(Path(name), edge.size).edge() == edge
        assert edge.root == root


@given(st.lists(st.integers(0, 600), max_size=8))
def test_the_edge_holds_less_than_a_tile_per_level(steps: list[int]) -> None:
    """Appending needs no more memory for a longer log."""
    edge = Edge()
    for step in steps:
        edge, _ = grow(edge, [b"r"] * step)
    assert edge.size == sum(steps)
    assert all(len(hashes) < WIDTH for hashes in edge.levels)
    assert len(edge.levels) <= edge.size.bit_length()
    assert len(edge.bundle) == 3 * (edge.size % WIDTH)


def test_a_reader_of_an_old_size_finds_its_partial_tile_in_the_full_one(tmp_path: Path) -> None:
    """Partial tiles may go once the tile is full."""
    edge, grown = grow(Edge(), RECORDS[:300])
    write(tmp_path, grown)
    write(tmp_path, grow(edge, RECORDS[300:600])[1])
    shutil.rmtree(tmp_path / "tile/0/001.p")
    shutil.rmtree(tmp_path / "tile/entries/001.p")
    tiles = Tiles(tmp_path, 300)
    assert tiles.root() == range_root(0, 300, node)
    assert [tiles.record(index) for index in range(300)] == RECORDS[:300]
    assert tiles.edge() == edge


def test_a_bundle_is_length_prefixed() -> None:
    """Two bytes, big-endian, before each record."""
    _, grown = grow(Edge(), [b"ab", b"c" * 258])
    bundle = next(tile for tile in grown if tile.level is None)
    assert bundle.data == b"\x00\x02ab\x01\x02" + b"c" * 258
    assert list(split_bundle(bundle.data)) == [b"ab", b"c" * 258]
    assert bundle_bytes([b"ab", b"c" * 258]) == len(bundle.data)


@given(st.binary(max_size=200))
def test_any_bytes_split_into_records(data: bytes) -> None:
    """Of a damaged bundle its whole records are left; nothing raises."""
    records = list(split_bundle(data))
    again = b"".join(len(record).to_bytes(2, "big") + record for record in records)
    assert data.startswith(again)
    assert len(again) == bundle_bytes(records)


@pytest.mark.parametrize("name", ["tile/0/000", "tile/entries/000"])
def test_a_missing_or_short_tile_is_damage(tmp_path: Path, name: str) -> None:
    """It is named."""
    write(tmp_path, grow(Edge(), RECORDS[:256])[1])
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1])
    tiles = Tiles(tmp_path, 256)
    with pytest.raises(DamagedError, match=name):
        (tiles.node(0, 255), tiles.record(255))
    (tmp_path / name).unlink()
    with pytest.raises(DamagedError, match=f"{name} is missing"):
        (tiles.node(0, 255), tiles.record(255))
