"""Paths from checked tiles equal the recursive specification, and damage is never passed on."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.index.errors import DamagedError
from stages.index.log.tree import inclusion_path
from stages.index.store.tiles import Edge, Tiles, grow
from stages.index.store.verified_tiles import VerifiedTiles
from stages.index.verifier import leaf_hash, verify_inclusion

SIZES = [1, 2, 3, 255, 256, 257, 511, 512, 513, 1000, 65_536, 65_800]


def record(index: int) -> bytes:
    return index.to_bytes(8, "big") * (20 if index % 7 else 3)


def written(path: Path, size: int) -> bytes:
    """A tree of so many records on disk; its root."""
    edge, tiles = grow(Edge(), [record(index) for index in range(size)])
    for tile in tiles:
        file = path / tile.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(tile.data)
    return edge.root


@pytest.mark.parametrize("size", SIZES)
def test_paths_and_records_are_those_of_the_specification(tmp_path: Path, size: int) -> None:
    """At sizes around full tiles and full levels; from both ends and between."""
    root = written(tmp_path, size)
    tree, tiles = VerifiedTiles(tmp_path, size, root), Tiles(tmp_path, size)
    step = max(1, size // 100)
    for index in {*range(0, size, step), *range(max(0, size - 5), size)}:
        path = tree.path(index)
        assert path == inclusion_path(index, size, tiles.node)
        assert verify_inclusion(leaf_hash(tree.record(index)), index, size, path, root)
        assert tree.record(index) == record(index)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("trusted")
    return path, written(path, 1000)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_changed_byte_is_refused_or_not_used(tree: tuple[Path, bytes], data: st.DataObject) -> None:
    """Wherever it lies in tiles or bundles: what comes back is proven, or it is DamagedError."""
    path, root = tree
    files = sorted(file for file in path.rglob("*") if file.is_file())
    file = data.draw(st.sampled_from(files))
    good = file.read_bytes()
    place, index = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(0, 999))
    file.write_bytes(good[:place] + bytes([good[place] ^ data.draw(st.integers(1, 255))]) + good[place + 1 :])
    try:
        reader = VerifiedTiles(path, 1000, root)
        found, way = reader.record(index), reader.path(index)
        assert verify_inclusion(leaf_hash(found), index, 1000, way, root)
    except DamagedError as error:
        if not error.file.startswith("tile"):
            raise
    finally:
        file.write_bytes(good)


@pytest.mark.parametrize(("name", "first"), [("tile/0/001", 256), ("tile/0/003.p/232", 768)])
def test_a_hash_that_changes_after_the_edge_was_checked_is_refused(
    tree: tuple[Path, bytes], name: str, first: int
) -> None:
    """Full or not, a tile is held against the root when it is read, not once for all."""
    path, root = tree
    good = (path / name).read_bytes()
    try:
        for place in (0, 1, 100, 231):
            reader = VerifiedTiles(path, 1000, root)
            reader.path(0)
            (path / name).write_bytes(good[: 32 * place] + bytes(32) + good[32 * (place + 1) :])
            with pytest.raises(DamagedError, match=f"{name} is damaged on the way"):
                reader.path(first + (place ^ 1))
            (path / name).write_bytes(good)
    finally:
        (path / name).write_bytes(good)
