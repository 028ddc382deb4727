"""The end of the log on disk: the segment and the manifest that a commit goes to, held open."""

from __future__ import annotations

import os
from concurrent.futures import Executor, Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from stages.files import PUBLIC, make_directory, sync_directory, write_at
from stages.index.store.durable import Fence
from stages.index.store.manifest import MANIFEST, ROW_BYTES, Extent, segment_path

_AHEAD: Final = 1 << 16  # zeros after the last row: a row that does not change the file's size syncs faster


class Tail:
    """Writes blocks and rows durably; no two threads at once.

    What a file has beyond them is cut off when it is closed, unless the lock was taken: then it is another's.
    """

    def __init__(self, directory: Path, pool: Executor, fence: Fence) -> None:
        self._directory = directory
        self._pool = pool
        self._fence = fence
        self._segment: tuple[int, int] | None = None  # number and descriptor
        self._stored: Future[None] | None = None  # the last write to it
        self._full = 0  # where the last block ends that was committed to it here
        make_directory((directory / MANIFEST).parent)
        self._manifest = self._open(MANIFEST)
        self._allocated = os.fstat(self._manifest).st_size
        self._end = 0  # of the last row that was written here
        sync_directory((directory / MANIFEST).parent)

    def store(self, segment: int, offset: int, data: Any) -> Future[None]:
        """Write a block's bytes; the future is done when they are durable."""
        fresh = not offset
        if self._segment is None or self._segment[0] != segment:
            self._close_segment()
            self._segment, self._full = (segment, self._open(segment_path(segment))), offset
        self._stored = self._pool.submit(self._store, self._segment[1], offset, data, fresh)
        return self._stored

    def enter(self, extent: Extent, number: int) -> None:
        """Write a block's row; return when it is durable."""
        row, self._end, self._full = extent.encode(), (number + 1) * ROW_BYTES, extent.end
        if self._end > self._allocated:
            write_at(self._manifest, bytes(_AHEAD), self._end - ROW_BYTES)
            self._allocated = self._end - ROW_BYTES + _AHEAD
        write_at(self._manifest, row, self._end - ROW_BYTES)
        os.fdatasync(self._manifest)

    def reopen(self) -> None:
        """The manifest has been replaced."""
        old, self._manifest = self._manifest, self._open(MANIFEST)
        os.close(old)
        self._allocated, self._end = os.fstat(self._manifest).st_size, 0

    def next_segment(self) -> int:
        """A number that no segment has."""
        names = (path.stem for path in (self._directory / MANIFEST).parent.glob("*.arrows"))
        return max((int(name) for name in names if name.isdecimal()), default=-1) + 1

    def fresh_segment(self) -> int:
        """The segment that was begun and holds nothing, or one that is not there yet."""
        if self._segment is not None and not self._full:
            return self._segment[0]
        return self.next_segment()

    def close(self) -> None:
        """Release the files."""
        self._close_segment()
        try:
            if self._end and self._fence.holds():
                os.ftruncate(self._manifest, self._end)
        finally:
            os.close(self._manifest)

    def _store(self, fd: int, offset: int, data: Any, fresh: bool) -> None:
        write_at(fd, data, offset)
        os.fdatasync(fd)
        if fresh:
            sync_directory((self._directory / MANIFEST).parent)

    def _open(self, name: str) -> int:
        return os.open(self._directory / name, os.O_WRONLY | os.O_CREAT, PUBLIC)

    def _close_segment(self) -> None:
        if self._segment is None or self._stored is None:
            return
        number, fd = self._segment
        self._stored.exception()  # wait: the descriptor's number may be another file's next
        with suppress(OSError):  # everything that matters was synced
            if os.fstat(fd).st_size > self._full and self._fence.holds():  # a block that was not committed
                os.ftruncate(fd, self._full)
                os.fdatasync(fd)
                if not self._full:
                    (self._directory / segment_path(number)).unlink()
        with suppress(OSError):
            os.close(fd)
        self._segment = self._stored = None
