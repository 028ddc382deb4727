"""Proofs of a log's blocks, records and earlier states against the signed root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.errors import OperatorError
from stages.index.errors import DamagedError
from stages.index.store.tiles import Tiles

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from stages.index.reader import Reader
    from stages.index.store.blocks import StoredBlock
    from stages.index.verifier import Checkpoint


class OtherLogError(OperatorError):
    """Two logs, or two states of one, that do not fit together: names both."""


def prove_rows(reader: Reader, block: StoredBlock, rows: Iterable[int]) -> None:
    """Check these rows of a block, head and header included, up to the reader's signed root."""
    entries = block.entries()
    for row in rows:
        index = block.first_index + row
        if entries[row] != reader.prove(index).record:
            raise DamagedError(
                "segments", f"do not hold record {index} ({block.keys[row].hex()}) as committed"
            )


def check_prefix(directory: Path, reader: Reader, pinned: Checkpoint, whose: str) -> None:
    """Refuse a checkpoint that is not one of this log's, now or earlier."""
    if pinned.size > reader.size:
        raise OtherLogError(
            f"{directory} has {reader.size} records, {whose} covers {pinned.size}: bring it up to date"
        )
    if root_at(directory, reader, pinned.size) != pinned.root:
        raise OtherLogError(
            f"{directory} does not hold the log of {whose}: at {pinned.size} records their roots differ"
        )


def root_at(directory: Path, reader: Reader, size: int) -> bytes:
    """The root of the log at this number of records; empty where that was never a checkpoint."""
    if size == reader.size:
        return reader.root
    try:
        return Tiles(directory, size).root()
    except DamagedError:
        return b""
