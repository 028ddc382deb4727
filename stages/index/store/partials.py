"""The earlier states of tiles that are not full yet: tlog-tiles keeps them for readers of old checkpoints.

They lie side by side in a directory that ends in ``.p``, one file per width, until the tile is full.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from stages.index.store.tiles import WIDTH, Tile, Tiles, tile_path


def states(directory: Path, level: int | None, number: int) -> Iterator[tuple[int, Path]]:
    """The widths in which a tile lies there as a partial one, and where."""
    place = (directory / tile_path(level, number, 1)).parent
    if place.is_dir():
        for file in place.iterdir():
            if file.name.isdecimal():
                yield int(file.name), file


def drop_unfinished(directory: Path, size: int, tiles: list[Tile]) -> None:
    """Of the tiles about to be published, remove states that a writer left which died before its commit.

    Otherwise they would pass for states of the log once it has grown past them. ``size`` is committed.
    """
    committed = Tiles(directory, size)
    for tile in tiles:
        if tile.width < WIDTH:
            for width, file in states(directory, tile.level, tile.number):
                if width > committed.width(tile.level, tile.number):
                    file.unlink()


def drop_filled(directory: Path, old: int, new: int) -> None:
    """Remove the states of tiles that became full as the log grew from one size to another."""
    for level, number in filled(old, new):
        shutil.rmtree((directory / tile_path(level, number, 1)).parent, ignore_errors=True)


def filled(old: int, new: int) -> Iterator[tuple[int | None, int]]:
    """Level and number of each tile that became full as the log grew from one size to another."""
    after = Tiles(Path(), new)
    return (place for place in Tiles(Path(), old).partial() if after.width(*place) == WIDTH)
