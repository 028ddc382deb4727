"""Walks a log from its first record to its signed root and hashes everything on the way.

The tree is rebuilt from the records, with the writer's own function, and compared with every tile and
with the checkpoint. Memory is bounded: one block of records and the right edge of the tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from stages.index.check.compare import Comparison, Finding, Found
from stages.index.errors import DamagedError
from stages.index.log.erasure import decode_erasure, is_erasure
from stages.index.log.leaf import LeafError
from stages.index.store.blocks import StoredBlock, decode_block
from stages.index.store.identity import CHECKPOINT
from stages.index.store.manifest import MANIFEST, Extent, rows_from
from stages.index.store.partials import states
from stages.index.store.segments import check_extent, read_extent
from stages.index.store.tiles import (
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
    erasures = Erasures(tiles)
    for found in _blocks(directory, checkpoint.size):
        hashes, wrong = comparison.of(found)
        wrong += erasures.of(found)
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


class Erasures:
    """Compares missing records with the entries that erase them."""

    def __init__(self, tiles: Tiles) -> None:
        self._tiles = tiles
        self._gone: set[int] = set()  # records that are missing so far, and may be

    def of(self, found: Found) -> Iterator[Finding]:
        """What is missing and was not erased, and what was erased and is not missing."""
        if found.unreadable or found.damaged:  # findings of their own
            self._gone.update(range(found.first, found.first + len(found.entries)))
            return
        for row, eraser in found.erased:
            index = found.first + row
            self._gone.add(index)
            if not self._says(eraser, index):
                yield Finding(index, None, found.file, "the record is missing, and no entry erases it")
        for index, entry in enumerate(found.entries, found.first):
            if entry is not None and is_erasure(entry):
                with suppress(LeafError):  # a finding of the comparison
                    erased = decode_erasure(entry)
                    if erased.index not in self._gone:
                        reason = f"the record is there, though entry {index} erases it"
                        yield Finding(erased.index, erased.key.hex(), found.file, reason)

    def _says(self, eraser: int, index: int) -> bool:
        """Whether that entry of the log is the erasure of that record."""
        if not index < eraser < self._tiles.size:
            return False
        try:
            entry = self._tiles.record(eraser)
            if leaf_hash(entry) != self._tiles.node(0, eraser):
                return True  # not what was committed, which is a finding of its own
            return decode_erasure(entry).index == index
        except DamagedError:
            return True  # likewise
        except LeafError:
            return False


def _blocks(directory: Path, size: int) -> Iterator[Found]:
    """The records 0..size-1 as the manifest finds them, with gaps where it is damaged."""
    done = 0
    for number, row in enumerate(rows_from(directory, 0)):
        if done == size:
            return
        if row is not None and done <= row.first and row.stop <= size:
            yield from _gap(done, row.first, f"is damaged before row {number}")
            yield _read(directory, row)
            done = row.stop
    yield from _gap(done, size, "is damaged, missing or too short")


def _gap(first: int, stop: int, reason: str) -> Iterator[Found]:
    for start in range(first, stop, _GAP):
        entries = [None] * min(_GAP, stop - start)
        yield Found(start, entries, MANIFEST, unreadable=f"{reason}: it does not lead to the record")


def _read(directory: Path, extent: Extent) -> Found:
    damaged = False
    try:
        data = read_extent(directory, extent)
        try:
            check_extent(data, extent)
        except DamagedError:
            damaged = True  # decode it all the same, to see which records are hit
        block = decode_block(data, extent)
        erased = block.erased if isinstance(block, StoredBlock) else ()
        return Found(extent.first, block.entries(), extent.file, damaged=damaged, erased=erased)
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
            with suppress(FileNotFoundError):  # a writer has filled the tile since
                if width < len(hashes) and not _is_state(level, file.read_bytes(), hashes[:width]):
                    path = tile_path(level, number, width)
                    yield Finding(None, None, path, f"is not the tile as it was when its width was {width}")


def _is_state(level: int | None, data: bytes, hashes: Sequence[bytes]) -> bool:
    if level is not None:
        return data == b"".join(hashes)
    records = list(split_bundle(data))
    return bundle_bytes(records) == len(data) and [*map(leaf_hash, records)] == list(hashes)
