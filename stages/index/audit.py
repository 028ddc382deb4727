"""Walks a log from its first record to its signed root and hashes everything on the way.

The tree is rebuilt from the records, with the writer's own function, and compared with every tile and
with the checkpoint. Memory is bounded: one block of records and the right edge of the tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from stages.index.compare import Comparison, Finding, Found
from stages.index.errors import DamagedError
from stages.index.identity import CHECKPOINT
from stages.index.manifest import MANIFEST, ROW_BYTES, Extent, decode_row
from stages.index.partials import states
from stages.index.segments import check_extent, decode_block, read_extent
from stages.index.tiles import (
    WIDTH,
    Edge,
    Tile,
    Tiles,
    bundle_bytes,
    grow_tree,
    partial_tiles,
    split_bundle,
    tile_path,
)
from stages.index.verifier import HASH_BYTES, Checkpoint, leaf_hash

MAX_FINDINGS: Final = 10_000  # the audit stops after the block in which it has as many
_GAP: Final = 1024  # records that the manifest does not find are walked in pieces of this many


def audit(directory: Path, checkpoint: Checkpoint) -> list[Finding]:
    """Everything that is wrong with the log below this checkpoint."""
    tiles = Tiles(directory, checkpoint.size)
    comparison = Comparison(tiles)
    findings: list[Finding] = []
    edge = Edge()
    for found in _blocks(directory, checkpoint.size):
        hashes, wrong = comparison.of(found)
        edge, grown = grow_tree(edge, hashes)
        findings += wrong
        findings += _compare_tiles(tiles, (tile for tile in grown if tile.width == WIDTH))
        if len(findings) >= MAX_FINDINGS:
            reason = (
                f"is checked up to record {edge.size - 1} only: there are {len(findings)} findings already"
            )
            return [*findings, Finding(None, None, CHECKPOINT, reason)]
    findings += _compare_tiles(tiles, partial_tiles(edge))
    findings += _compare_states(directory, tiles, edge)
    if edge.root != checkpoint.root:
        reason = f"has root {checkpoint.root.hex()}; the records have {edge.root.hex()}"
        findings.append(Finding(None, None, CHECKPOINT, reason))
    return findings


def _blocks(directory: Path, size: int) -> Iterator[Found]:
    """The records 0..size-1 as the manifest finds them, with gaps where it is damaged."""
    done = 0
    for number, row in enumerate(_rows(directory)):
        if done == size:
            return
        if row is not None and done <= row.first and row.stop <= size:
            yield from _gap(done, row.first, f"is damaged before row {number}")
            yield _read(directory, row)
            done = row.stop
    yield from _gap(done, size, "is damaged, missing or too short")


def _rows(directory: Path) -> Iterator[Extent | None]:
    try:
        with (directory / MANIFEST).open("rb") as file:
            while data := file.read(ROW_BYTES):
                yield decode_row(data)
    except FileNotFoundError:
        return


def _gap(first: int, stop: int, reason: str) -> Iterator[Found]:
    for start in range(first, stop, _GAP):
        leaves = [None] * min(_GAP, stop - start)
        yield Found(start, leaves, MANIFEST, unreadable=f"{reason}: it does not lead to the record")


def _read(directory: Path, extent: Extent) -> Found:
    damaged = False
    try:
        data = read_extent(directory, extent)
        try:
            check_extent(data, extent)
        except DamagedError:
            damaged = True  # decode it all the same, to see which records are hit
        return Found(extent.first, decode_block(data, extent).leaves(), extent.file, damaged=damaged)
    except DamagedError as error:
        return Found(extent.first, [None] * extent.records, error.file, unreadable=error.reason)


def _compare_tiles(stored: Tiles, tiles: Iterable[Tile]) -> Iterator[Finding]:
    """What is wrong in tiles above the leaves, given what they should be."""
    for tile in tiles:
        if not tile.level:
            continue  # compared with each record
        try:
            data, file = stored.read(tile.level, tile.number)
        except DamagedError as error:
            yield Finding(None, None, error.file, error.reason)
            continue
        if len(data) != len(tile.data):
            yield Finding(None, None, file, f"has {len(data)} bytes, not {len(tile.data)}")
        span = WIDTH**tile.level
        for place in range(tile.width):
            part = slice(place * HASH_BYTES, (place + 1) * HASH_BYTES)
            if data[part] != tile.data[part]:
                first = (tile.number * WIDTH + place) * span
                reason = f"hash {place} is not that of records {first} to {first + span - 1}"
                yield Finding(None, None, file, reason)


def _compare_states(directory: Path, tiles: Tiles, edge: Edge) -> Iterator[Finding]:
    """What is wrong in the earlier states of tiles that are not full yet."""
    for level, number in tiles.partial():
        hashes = edge.levels[level or 0]
        for width, file in states(directory, level, number):
            with suppress(FileNotFoundError):  # a writer has filled the tile meanwhile
                if width < len(hashes) and not _is_state(level, file.read_bytes(), hashes[:width]):
                    path = tile_path(level, number, width)
                    yield Finding(None, None, path, f"is not the tile as it was when its width was {width}")


def _is_state(level: int | None, data: bytes, hashes: Sequence[bytes]) -> bool:
    if level is not None:
        return data == b"".join(hashes)
    records = list(split_bundle(data))
    return bundle_bytes(records) == len(data) and [*map(leaf_hash, records)] == list(hashes)
