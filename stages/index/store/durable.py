"""Many durable files with few waits, and the lock that keeps writers apart.

``stages.files`` says what POSIX promises and writes one file at a time. A commit of the index changes many:
here all of them are written, synced by a pool, renamed, and each directory is synced once. After a sync
that failed, the index is opened again: recovery writes the tail once more.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from stages.files import PUBLIC, make_directory_unsynced, opened, write_at
from stages.index.errors import BusyError

SYNCS: Final = 8  # threads of a pool for syncing: a journalling file system commits together what waits
_POLL_S: Final = 0.05
_CHUNK_BYTES: Final = 1 << 20
_EPOCH: Final = re.compile(rb"epoch ([0-9]{1,18}), ")
_CHECK: Final = b", check "
_CHECK_DIGITS: Final = 8  # of the SHA-256 over what is before


def filled(fd: int, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Pieces between start and stop with anything but zeros: offset and length. Holes are not read."""
    while start < stop:
        try:
            start = max(start, os.lseek(fd, start, os.SEEK_DATA))
        except OSError as error:
            if error.errno != errno.ENXIO:  # else there is no data after it
                raise
            return
        length = min(_CHUNK_BYTES, stop - start)
        if length > 0 and any(os.pread(fd, length, start)):
            yield start, length
        start += _CHUNK_BYTES


def sync_files(pool: Executor, fds: Sequence[int]) -> None:
    """Return when the bytes and sizes of these files are durable."""
    list(pool.map(os.fdatasync, fds))


def sync_directories(pool: Executor, directories: Iterable[Path]) -> None:
    """Return when the names in these directories are durable."""
    with ExitStack() as stack:
        fds = []
        for directory in directories:
            fds.append(os.open(directory, os.O_RDONLY | os.O_DIRECTORY))
            stack.callback(os.close, fds[-1])
        list(pool.map(os.fsync, fds))


@dataclass(frozen=True, slots=True)
class Staged:
    """A file that is written but not yet in its place."""

    fd: int
    temporary: Path
    target: Path


@contextmanager
def staged(
    directory: Path, files: Sequence[tuple[Path, bytes]], prefix: str = "", mode: int = PUBLIC
) -> Iterator[list[Staged]]:
    """Write each file under a temporary name; the caller syncs them and then calls ``publish``.

    Calls that overlap in time give their names different prefixes.
    """
    with ExitStack() as stack:
        answer = []
        for number, (target, data) in enumerate(files):
            temporary = directory / f"{prefix}{number}"
            fd = stack.enter_context(opened(temporary, os.O_TRUNC, mode))
            write_at(fd, data, 0)
            answer.append(Staged(fd, temporary, target))
        yield answer


def publish(pool: Executor, files: Sequence[Staged], *directories: Path) -> None:
    """Rename durable files into place, durably: a reader sees the old file or the new, never a torn one.

    The given directories, where names were added already, are synced with those of the files.
    """
    changed = set(directories)
    for file in files:
        changed |= make_directory_unsynced(file.target.parent)
        file.temporary.replace(file.target)
        changed.add(file.target.parent)
    sync_directories(pool, changed)


def replace_files(
    pool: Executor, staging: Path, files: Sequence[tuple[Path, bytes]], fence: Fence | None, prefix: str = ""
) -> None:
    """Make or replace files, durably, as long as the fence holds; see ``staged`` and ``publish``."""
    with staged(staging, files, prefix) as written:
        sync_files(pool, [file.fd for file in written])
        if fence is not None:
            fence.check()
        publish(pool, written)


@dataclass(frozen=True, slots=True)
class Fence:
    """A held lock and its epoch, which is one more than that of the holder before."""

    path: Path
    fd: int
    text: bytes

    def check(self) -> None:
        """Raise BusyError where the lock file is no longer the one that is held, or no longer ours.

        The kernel lets nobody else lock it; but a file system may lose a lock, or somebody remove the file.
        """
        try:
            there, held = os.stat(self.path), os.fstat(self.fd)  # noqa: PTH116 - before every commit
            same = (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)
            if same and os.pread(self.fd, len(self.text) + 1, 0) == self.text:
                return
        except FileNotFoundError:
            pass
        raise BusyError(f"{self.path} was taken from this writer: another one may be at work")

    def holds(self) -> bool:
        """Whether the lock is still this writer's."""
        try:
            self.check()
        except BusyError:
            return False
        return True


@contextmanager
def locked(path: Path, wait_s: float) -> Iterator[Fence]:
    """Hold the lock file. The kernel releases it when the process ends, however it ends."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _acquire(fd, path, wait_s)
        before = _EPOCH.match(os.pread(fd, 256, 0))
        epoch = int(before[1]) + 1 if before else 1
        text = _checked(f"epoch {epoch}, pid {os.getpid()} on {socket.gethostname()}".encode())
        os.ftruncate(fd, 0)
        write_at(fd, text, 0)
        yield Fence(path, fd, text)
    finally:
        os.close(fd)


def is_lock_text(data: bytes) -> bool:
    """Whether this is what a writer writes into its lock file; nothing is what one that died left behind."""
    return not data or data == _checked(data.rpartition(_CHECK)[0])


def _checked(text: bytes) -> bytes:
    return text + _CHECK + sha256(text).hexdigest()[:_CHECK_DIGITS].encode() + b"\n"


def check_free(directory: Path) -> None:
    """Raise BusyError where a writer holds the index right now; it may be taken a moment later."""
    lock = directory / "lock"
    if lock.exists():
        fd = os.open(lock, os.O_RDONLY)
        try:
            _acquire(fd, lock, 0.0)
        finally:
            os.close(fd)


def _acquire(fd: int, path: Path, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = os.pread(fd, 256, 0).rpartition(_CHECK)[0].decode(errors="replace")
                who = holder or "its pid is unknown"
                raise BusyError(f"another writer holds {path.parent}: {who}") from None
            time.sleep(_POLL_S)
        else:
            return
