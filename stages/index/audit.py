"""Compares every record with everything that commits to it.

A record is committed to four times: by its bytes (segment), by its leaf record (entry bundle), by that
record's hash (level-0 tile), and by the tree above, up to the signed root. Where one of the first three
disagrees with the other two, that one is damaged. The tree is rebuilt from the majority and compared
with every tile and with the checkpoint. Bytes outside any record (Arrow framing, padding) are covered by
the SHA-256 of their block in the manifest. Memory is bounded: one block and the right edge of the tree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from stages.index.errors import DamagedError
from stages.index.identity import CHECKPOINT
from stages.index.leaf import Leaf, LeafError, decode_leaf
from stages.index.manifest import MANIFEST, ROW_BYTES, Extent, decode_row
from stages.index.note import Checkpoint
from stages.index.segments import check_extent, decode_block, read_extent
from stages.index.tiles import WIDTH, Edge, Tile, Tiles, grow_tree, split_bundle
from stages.index.tree import HASH_BYTES, leaf_hash

MAX_FINDINGS: Final = 10_000  # the audit stops after the block in which it has as many
_GAP: Final = 1024  # records without a manifest row are walked in pieces of this many


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; ``index`` and ``key`` (hex) name the record where there is one."""

    index: int | None
    key: str | None
    file: str  # relative to the index
    reason: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something could not be read."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """A block's leaf records, from its bytes."""

    leaves: Sequence[Leaf | None]
    file: str
    missing: str = ""  # why the leaves are None
    damaged: bool = False  # some byte of the block is wrong, perhaps outside any record


def audit(directory: Path, checkpoint: Checkpoint) -> list[Finding]:
    """Everything that is wrong with the log below this checkpoint."""
    audit = _Audit(directory, checkpoint.size)
    edge = Edge()
    for first, found in _blocks(directory, checkpoint.size):
        edge, tiles = grow_tree(edge, audit.block(first, found))
        audit.tiles(tile for tile in tiles if tile.width == WIDTH)
        if len(audit.findings) >= MAX_FINDINGS:
            reason = f"and perhaps more: stopped at record {edge.size} after {len(audit.findings)} findings"
            return [*audit.findings, Finding(None, None, CHECKPOINT, reason)]
    ...
