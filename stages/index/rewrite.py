"""Writes blocks again into new segments, and lets the manifest lead there from one moment to the next.

Readers that are pinned to a checkpoint follow the manifest; what they have mapped stays mapped.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Self

from stages.files import PUBLIC, sync_directory, write_at
from stages.index.store.blocks import Statements, StoredBlock, encode_block
from stages.index.store.durable import replace_files
from stages.index.store.identity import STAGING
from stages.index.store.manifest import MANIFEST, BlockKind, Extent, segment_path

if TYPE_CHECKING:
    from stages.index.writer import Writer


class Rewriter:
    """New segments, durable when it is closed. What nothing leads to is removed by the next writer."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._segment = writer.next_segment() - 1
        self._fd: int | None = None
        self._offset = 0

    def add(self, extent: Extent, block: StoredBlock | Statements) -> Extent:
        """Write a block; where it lies now."""
        if self._fd is None or self._offset >= self._writer.options.segment_bytes:
            self._close()
            self._segment += 1
            path = self._writer.directory / segment_path(self._segment)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PUBLIC)
        data = encode_block(block, opens_segment=not self._offset)
        write_at(self._fd, data, self._offset)
        where = {"segment": self._segment, "offset": self._offset, "length": len(data)}
        self._offset += len(data)
        kind = BlockKind.ERASED if isinstance(block, StoredBlock) and block.erased else extent.kind
        return replace(extent, **where, kind=kind, digest=sha256(data).digest())

    def lead_to(self, rows: Sequence[Extent]) -> None:
        """Replace the manifest by these rows; the segments must be durable. Nothing if none was written."""
        writer = self._writer
        if self._fd is not None or not self._offset:
            return
        data = b"".join(row.encode() for row in rows)
        home = writer.directory
        replace_files(writer.pool, home / STAGING, [(home / MANIFEST, data)], writer.fence)
        writer.moved(rows[-1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        written = self._offset
        self._close()
        self._offset = written
        sync_directory((self._writer.directory / MANIFEST).parent)

    def _close(self) -> None:
        if self._fd is not None:
            fd, self._fd, self._offset = self._fd, None, 0
            try:
                os.fdatasync(fd)
            finally:
                os.close(fd)
