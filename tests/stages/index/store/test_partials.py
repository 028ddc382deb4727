from __future__ import annotations

from pathlib import Path

import pytest

from stages.index.store.partials import drop_filled, drop_unfinished, filled, states
from stages.index.store.tiles import Edge, Tile, grow


def written(directory: Path, sizes: list[int]) -> list[Tile]:
    """All states of a log that had these sizes; the tiles of the last growth."""
    edge, tiles, before = Edge(), [], 0
    for size in sizes:
        edge, tiles = grow(edge, [bytes([at % 251]) for at in range(before, size)])
        before = size
        for tile in tiles:
            file = directory / tile.path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(tile.data)
    return tiles


def widths(directory: Path, level: int | None, number: int) -> list[int]:
    return sorted(width for width, _ in states(directory, level, number))


def test_states_of_a_tile_are_its_widths(tmp_path: Path) -> None:
    """Other files beside them are no states, and a tile that was never partial has none."""
    written(tmp_path, [3, 7, 256, 300])
    (tmp_path / "tile/0/000.p/.7.part").touch()
    assert widths(tmp_path, 0, 0) == [3, 7]
    assert widths(tmp_path, None, 1) == [44]
    assert widths(tmp_path, 0, 2) == []
    assert [file.name for _, file in states(tmp_path, 0, 1)] == ["44"]


def test_what_a_dead_writer_left_is_removed_before_its_tile_is_published(tmp_path: Path) -> None:
    """States up to the committed size stay; other tiles are not touched."""
    tiles = written(tmp_path, [3, 7, 20])
    drop_unfinished(tmp_path, 7, tiles)
    assert widths(tmp_path, 0, 0) == widths(tmp_path, None, 0) == [3, 7]
    drop_unfinished(tmp_path, 3, [tile for tile in tiles if tile.level is None])
    assert (widths(tmp_path, 0, 0), widths(tmp_path, None, 0)) == ([3, 7], [3])


@pytest.mark.parametrize(
    ("old", "new", "places"), [(3, 255, []), (3, 256, [(0, 0), (None, 0)]), (256, 300, [])]
)
def test_a_tile_is_filled_when_the_log_grows_to_its_end(
    old: int, new: int, places: list[tuple[int | None, int]]
) -> None:
    """At its level and as a bundle of entries."""
    assert sorted(filled(old, new), key=str) == sorted(places, key=str)


def test_states_of_a_filled_tile_are_removed(tmp_path: Path) -> None:
    """With their folder; those of the next tile stay."""
    written(tmp_path, [3, 7, 256, 300])
    drop_filled(tmp_path, 7, 300)
    assert not (tmp_path / "tile/0/000.p").exists()
    assert (tmp_path / "tile/0/000").exists()
    assert widths(tmp_path, 0, 1) == [44]
    drop_filled(tmp_path, 7, 300)
