"""Figures about an index, for operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stages.encrypt.lwe.errors import LweError
from stages.encrypt.lwe.wire import decode_header
from stages.index.store.blocks import StoredBlock
from stages.index.store.identity import CHECKPOINT, read_checkpoint, read_identity
from stages.index.store.manifest import BlockKind, Manifest
from stages.index.store.segments import Segments


@dataclass(frozen=True, slots=True)
class Stats:
    """An index at its latest checkpoint. This does not check that it is intact; ``verify`` does."""

    origin: str
    size: int  # entries in the log: records and erasures
    records: int  # that are there
    erased: int
    root: bytes
    blocks: int
    segments: int
    segment_bytes: int  # ciphertext, metadata and framing
    total_bytes: int  # every file, caches included
    model: str | None  # SHA-256 of the weights that the features are of, hex; None where the log states none
    key_ids: Mapping[str, int]  # LWE public keys that records are encrypted under, hex, and how many
    checkpoint_time: datetime

    @property
    def bytes_per_record(self) -> float:
        """All bytes, shared among the records."""
        return self.total_bytes / self.records if self.records else 0.0


def stats(path: Path) -> Stats:
    """Read the figures of an index."""
    identity, keys = read_identity(path)
    checkpoint, _ = read_checkpoint(path, keys)
    manifest = Manifest(path, checkpoint.size)
    segments = Segments(path, checkpoint.size)
    lengths: Counter[int] = Counter()
    key_ids: Counter[str] = Counter()
    erased = 0
    for extent in manifest:
        lengths[extent.segment] += extent.length
        block = segments.peek(extent)
        if isinstance(block, StoredBlock):
            erased += len(block.erased)
            with suppress(LweError):  # what a header means is not the index's business
                key_ids[decode_header(block.header).key_id.hex()] += len(block) - len(block.erased)
    return Stats(
        identity.origin,
        checkpoint.size,
        sum(extent.records for extent in manifest if extent.kind != BlockKind.STATEMENTS) - erased,
        erased,
        checkpoint.root,
        len(manifest),
        len(lengths),
        lengths.total(),
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        None if checkpoint.model is None else checkpoint.model.hex(),
        dict(sorted(key_ids.items())),
        datetime.fromtimestamp((path / CHECKPOINT).stat().st_mtime, UTC),
    )
