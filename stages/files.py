"""Files that survive a power cut: a reader finds the old content or the new one, never a part of it.

What POSIX (IEEE Std 1003.1-2024) promises, and what follows from it here:

* ``rename`` replaces a file atomically for readers, but promises nothing about a crash: so the new
  content is written under a temporary name in the same file system and synced first;
* bytes are durable when ``fsync`` on the file returns, its name when ``fsync`` on the directory returns:
  so both are called, in this order, before a write is reported as done;
* ``open`` gives a new file its mode at once: so a secret is never readable, not even while it is empty;
* after an ``fsync`` that failed, the kernel may mark the lost pages as clean: so it is never tried again.

A killed process leaves its temporary file behind; the next write of the same file removes it. Of two
processes that write one file at the same time, one may therefore fail; neither leaves a part of a file.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

PUBLIC: Final = 0o644
SECRET: Final = 0o600
_DIRECTORY: Final = 0o777  # less the umask, as for any directory
_PART: Final = ".part"
_OLD: Final = ".old"
_AT_FDCWD: Final = -100  # fcntl.h: paths are relative to the working directory
_RENAME_EXCHANGE: Final = 2  # linux/fs.h
_TOKEN_BYTES: Final = 4


def write_whole(file: Path, data: bytes, mode: int = PUBLIC, staging: Path | None = None) -> None:
    """Make or replace ``file``, durably; see ``whole_file``."""
    with whole_file(file, mode, staging) as stream:
        stream.write(data)


@contextmanager
def whole_file(file: Path, mode: int = PUBLIC, staging: Path | None = None) -> Iterator[BinaryIO]:
    """A stream for the new content of ``file``, which takes its place, durably, when the block succeeds.

    The temporary file lies beside ``file``, or in ``staging``: a directory of the same file system, which
    no other file of the same name may use.
    """
    _refuse_special(file)
    with _placed(file, mode, staging, Path.replace) as stream:
        yield stream
    sync_directory(file.parent)


@contextmanager
def part_directory(directory: Path, staging: Path | None = None, mode: int = _DIRECTORY) -> Iterator[Path]:
    """A new hidden directory, to be filled and given the name ``directory``; else it goes with the block.

    It lies beside ``directory``, or in ``staging``: a directory of the same file system. A killed process
    leaves it behind; the next call for the same name removes it.
    """
    home = directory.parent if staging is None else staging
    _drop_parts(home, re.escape(directory.name))
    part = _part(home, directory.name)
    part.mkdir(mode)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_in_part(part: Path, name: str, data: bytes) -> None:
    """One file of a directory that has no name yet, with the folder it needs; synced with the whole."""
    file = part / name
    file.parent.mkdir(exist_ok=True)
    with named(file):
        file.write_bytes(data)


@contextmanager
def whole_directory(directory: Path, mode: int = _DIRECTORY) -> Iterator[Path]:
    """A new directory to fill, which gets its name, with all that is in it durable, when the block succeeds.

    By then there must be none of that name, or an empty one.
    """
    with part_directory(directory, mode=mode) as part:
        yield part
        place_directory(part, directory)


def place_directory(part: Path, directory: Path) -> None:
    """Give a filled directory of the same file system its name, with all that is in it durable.

    By then there must be none of that name, or an empty one.
    """
    _sync_tree(part)
    move(part, directory)


def replace_directory(part: Path, directory: Path) -> None:
    """Give ``part``, durable, the name of ``directory``, and remove what was there.

    Linux exchanges the two names in one step. Where the file system cannot, as NFS, the old directory is
    moved beside ``part`` first: a process killed before the second step leaves none of the name, until
    ``restore_directory`` brings the old one back.
    """
    _sync_tree(part)
    if not _exchange(part, directory):
        old = _part(part.parent, directory.name).with_suffix(_OLD)
        move(directory, old)
        move(part, directory)
        part = old
    sync_directory(directory.parent)
    shutil.rmtree(part)


def restore_directory(directory: Path, staging: Path | None = None) -> None:
    """End what a process killed in ``replace_directory`` left half done: the old one is back, or gone."""
    home = directory.parent if staging is None else staging
    for old in _left(home, re.escape(directory.name), _OLD):
        if directory.exists():
            shutil.rmtree(old)
        else:
            move(old, directory)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names (renameat2, Linux 3.15); False where the file system or the C library cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = (ctypes.c_char_p(os.fsencode(one)), ctypes.c_char_p(os.fsencode(other)))
    if rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return True
    error = ctypes.get_errno()
    if error in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV):
        return False
    raise OSError(error, os.strerror(error), str(one), None, str(other))


def _sync_tree(directory: Path) -> None:
    for path in directory.rglob("*"):
        _sync(path, os.O_RDONLY)
    sync_directory(directory)


def create(file: Path, data: bytes, mode: int = PUBLIC) -> None:
    """Write a file that is not there yet, durably. Raises FileExistsError where it is.

    It gets its name by ``link``, which overwrites nothing; a file system without links raises OSError.
    """
    with _placed(file, mode, None, _link) as stream:
        stream.write(data)
    sync_directory(file.parent)


def move(source: Path, target: Path) -> None:
    """Rename a durable file or directory durably, replacing any of that name.

    Where the directories differ, a power cut may leave the source's name there as well.
    """
    source.replace(target)
    sync_directory(target.parent)


def make_directory(directory: Path, mode: int = _DIRECTORY) -> None:
    """Make a directory, and those missing above it, durably; one that is there stays as it is."""
    for changed in make_directory_unsynced(directory, mode):
        sync_directory(changed)


def make_directory_unsynced(directory: Path, mode: int = _DIRECTORY) -> set[Path]:
    """Make a directory, and those missing above it; the directories that have a new name, not yet synced."""
    if directory.is_dir():
        return set()
    above = make_directory_unsynced(directory.parent)
    directory.mkdir(mode, exist_ok=True)
    return above | {directory.parent}


def sync_directory(directory: Path) -> None:
    """Return when the names in this directory are durable."""
    _sync(directory, os.O_RDONLY | os.O_DIRECTORY)


@contextmanager
def opened(path: Path, flags: int = 0, mode: int = PUBLIC) -> Iterator[int]:
    """A descriptor for writing; the file is made, with its mode, where it is missing."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


def write_at(fd: int, data: Any, offset: int) -> None:
    """Write all of ``data`` at an offset: ``pwrite`` may take less than it is given."""
    view = memoryview(data).cast("B")
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


@contextmanager
def _placed(
    file: Path, mode: int, staging: Path | None, place: Callable[[Path, Path], object]
) -> Iterator[BinaryIO]:
    """A stream into a temporary file, to be synced and then placed under its name, which is not synced."""
    directory = file.parent if staging is None else staging
    _drop_parts(directory, re.escape(file.name))
    part = _part(directory, file.name)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with named(file), os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(descriptor)
        place(part, file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _link(part: Path, file: Path) -> None:
    file.hardlink_to(part)
    part.unlink()


def _part(directory: Path, name: str) -> Path:
    return directory / f".{name}.{secrets.token_hex(_TOKEN_BYTES)}{_PART}"


def _drop_parts(directory: Path, name: str) -> None:
    """Remove temporary files that killed processes left, of the names that match this pattern."""
    for path in _left(directory, name, _PART):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _left(directory: Path, name: str, suffix: str) -> list[Path]:
    """Temporary files and directories of the names that match this pattern."""
    token = f"[0-9a-f]{{{2 * _TOKEN_BYTES}}}"
    pattern = re.compile(rf"\.{name}\.{token}{re.escape(suffix)}", re.DOTALL)
    return [path for path in directory.iterdir() if pattern.fullmatch(path.name)]


def _refuse_special(file: Path) -> None:
    """Refuse to rename over a device or a pipe: ``/dev/null`` would be a file from then on."""
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(file))


def _sync(path: Path, flags: int) -> None:
    fd = os.open(path, flags)
    try:
        with named(path):
            os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Adds the path to errors of descriptor calls."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise
