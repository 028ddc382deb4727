"""Figures about an index, for operators."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stages.encrypt.errors import LweError
from stages.encrypt.wire import decode_header
from stages.index.identity import CHECKPOINT, read_checkpoint, read_identity
from stages.index.manifest import Manifest
from stages.index.segments import Segments


@dataclass(frozen=True, slots=True)
class Stats:
    """An index at its latest checkpoint. Nothing here says that it is whole; ``verify`` does."""

    origin: str
    size: int
    root: bytes
    blocks: int
    segments: int
    segment_bytes: int  # ciphertext, metadata and framing
    total_bytes: int  # every file, caches included
    key_ids: tuple[str, ...]  # LWE public keys that records are encrypted under, hex
    checkpoint_time: datetime

    @property
    def bytes_per_record(self) -> float:
        """All bytes, shared among the records."""
        return self.total_bytes / self.size if self.size else 0.0


def stats(path: Path) -> Stats:
    """Read the figures of an index."""
    identity, keys = read_identity(path)
    checkpoint, _ = read_checkpoint(path, keys)
    manifest = Manifest(path, checkpoint.size)
    segments = Segments(path)
    lengths: Counter[int] = Counter()
    key_ids = set()
    for extent in manifest:
        lengths[extent.segment] += extent.length
        with suppress(LweError):  # what a header means is not the index's business
            key_ids.add(decode_header(segments.header(extent)).key_id.hex())
    return Stats(
        identity.origin,
        checkpoint.size,
        checkpoint.root,
        len(manifest),
        len(lengths),
        lengths.total(),
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        tuple(sorted(key_ids)),
        datetime.fromtimestamp((path / CHECKPOINT).stat().st_mtime, UTC),
    )
