"""Key files on disk: made once or replaced whole, durable either way, and secret from the first byte.

A file is created exclusively, or written beside its place and renamed over it; it has its final mode
before it has a byte. A replaced file is the old one or the new one at every moment. Half of a new one may
be there after a power cut: it opens as no key.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from stages.errors import OperatorError

PUBLIC: Final = 0o644


class KeyFileError(OperatorError):
    """A key file that is missing, damaged, unsafe or does not open: names the file and what to do."""


def create(file: Path, data: bytes, mode: int) -> None:
    """Write a new file, durable on return; the mode holds from the first byte on."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    sync(file.parent)


def replace(file: Path, data: bytes, mode: int) -> None:
    """Put this content in a file's place; whoever reads meanwhile sees the old file or the new."""
    temporary = file.with_name(f".{file.name}.new")
    with suppress(FileNotFoundError):  # of a writer that was killed
        temporary.unlink()
    create(temporary, data, mode)
    move(temporary, file)


def move(source: Path, target: Path) -> None:
    """Rename over whatever is there, durably."""
    source.replace(target)
    sync(target.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those missing above it, durably; one that is there stays."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir()
        sync(folder.parent)


def sync(folder: Path) -> None:
    """Return when the names in a folder are durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(file: Path, advice: str) -> bytes:
    """A file's bytes; the error says what to do about a missing one."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{file} cannot be read ({error.strerror}): {advice}") from error
