"""The local side of a pull: a directory that is an index without its signing key, changed durably."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

from stages.files import make_directory, opened, sync_directory, write_at
from stages.index.errors import NotAnIndexError
from stages.index.store.durable import filled, replace_files
from stages.index.store.identity import CHECKPOINT, LOCK, PUBLIC_KEY, SIGNING_KEY, STAGING, is_index
from stages.index.store.manifest import MANIFEST, Extent, by_segment, gaps

_SEGMENTS: Final = Path(MANIFEST).parent
_UNFINISHED: Final = frozenset({CHECKPOINT, PUBLIC_KEY, LOCK, STAGING, "tile", "segments"})


class Replica:
    """One directory, whose lock the caller has."""

    def __init__(self, directory: Path, pool: Executor) -> None:
        self.directory = directory
        self.pool = pool
        (directory / STAGING).mkdir(exist_ok=True)
        make_directory(directory / _SEGMENTS)
        self._touched: set[Path] = set()

    def keep(self, files: Mapping[str, bytes]) -> None:
        """Make or replace these files, durably."""
        home = self.directory
        named = [(home / name, data) for name, data in files.items()]
        replace_files(self.pool, home / STAGING, named, None)

    def write(self, row: Extent, data: bytes) -> None:
        """Put a block into its place; durable after ``sync``."""
        path = self.directory / row.file
        with opened(path) as fd:
            write_at(fd, data, row.offset)
        self._touched.add(path)

    def sync(self) -> None:
        """Return when all blocks that were written are durable."""
        for path in self._touched:
            with opened(path) as fd:
                os.fdatasync(fd)
        sync_directory(self.directory / _SEGMENTS)
        self._touched.clear()

    def drop_rest(self, rows: Sequence[Extent]) -> None:
        """Overwrite and remove what no row leads to: the bytes of erased records among it."""
        blocks = by_segment(rows)
        for path in (self.directory / _SEGMENTS).glob("*.arrows"):
            lying = blocks.get(str(path.relative_to(self.directory)))
            if lying is None:
                path.unlink()
                continue
            with path.open("r+b", buffering=0) as file:
                fd = file.fileno()
                size = os.fstat(fd).st_size  # zeros and no shorter: a reader may have it mapped
                dead = [piece for gap in gaps(lying, size) for piece in filled(fd, *gap)]
                for start, length in dead:
                    write_at(fd, bytes(length), start)
                if dead:
                    os.fdatasync(fd)
        sync_directory(self.directory / _SEGMENTS)
        shutil.rmtree(self.directory / STAGING)


def make_replica(directory: Path) -> None:
    """Make the directory, unless it is anything but a copy of a log."""
    if (directory / SIGNING_KEY).exists():
        raise NotAnIndexError(
            f"{directory} is a writer's index, which no copy may replace: pull into another folder"
        )
    if directory.is_dir() and not is_index(directory):
        foreign = {path.name for path in directory.iterdir()} - _UNFINISHED
        if foreign:
            raise NotAnIndexError(f"{directory} is not empty and is not an index: it holds {min(foreign)}")
    make_directory(directory)
