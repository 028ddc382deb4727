"""Compaction: segments without the bytes of what was erased, and few instead of many.

Blocks are copied into new segments, their bytes checked on the way; the manifest that leads there replaces
the old one; then the old segments are removed. A crash before that leaves new segments that nothing leads
to, a crash after it old ones: the next writer removes either.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from stages.files import sync_directory
from stages.index.rewrite import Rewriter
from stages.index.store.manifest import MANIFEST, segment_path
from stages.index.store.segments import Segments
from stages.index.writer import Writer


@dataclass(frozen=True, slots=True)
class Compaction:
    """What it changed."""

    segments_before: int
    segments_after: int
    bytes_before: int
    bytes_after: int


def compact(writer: Writer) -> Compaction:
    """Write again all segments that have dead bytes, or that are small and not alone in this."""
    writer.publish()
    home = writer.directory
    segments = Segments(home, writer.size)
    rows = list(segments.manifest)
    lengths: Counter[int] = Counter()
    for row in rows:
        lengths[row.segment] += row.length
    sizes = {number: (home / segment_path(number)).stat().st_size for number in lengths}
    dead = {number for number, size in sizes.items() if size > lengths[number]}
    small = {number for number, size in sizes.items() if size < writer.options.segment_bytes // 2}
    chosen = dead | small if len(dead | small) > 1 else dead
    with Rewriter(writer) as rewriter:
        for number, row in enumerate(rows):
            if row.segment in chosen:
                rows[number] = rewriter.add(row, segments.block(number))
    rewriter.lead_to(rows)
    for number in chosen:
        (home / segment_path(number)).unlink()
    sync_directory((home / MANIFEST).parent)
    after = {row.segment for row in rows}
    left = sum((home / segment_path(number)).stat().st_size for number in after)
    return Compaction(len(sizes), len(after), sum(sizes.values()), left)
