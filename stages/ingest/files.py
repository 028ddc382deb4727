"""Opening what may be anything: waits for no pipe, touches no device, reads nothing over the limit."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader

from stages.base import Reason
from stages.ingest.faults import BadData


@contextmanager
def open_regular(path: str, max_bytes: int) -> Iterator[tuple[BufferedReader, int]]:
    """The file and its size; what is no regular file, empty or too large is refused."""
    _check(os.stat(path), max_bytes)  # noqa: PTH116 (a scan does it for every file)
    # Between the two calls the path may have become a pipe; O_NONBLOCK opens that without waiting.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        _check(status, max_bytes)
        yield stream, status.st_size


def _check(status: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise BadData(Reason.UNREADABLE, "Not a regular file (pipe, socket, device or folder).")
    if status.st_size == 0:
        raise BadData(Reason.EMPTY, "The file has no bytes.")
    if status.st_size > max_bytes:
        detail = f"The file has {status.st_size} bytes; the limit is {max_bytes} (ingest.max_file_bytes)."
        raise BadData(Reason.TOO_LARGE, detail)


def sha256_of(stream: BufferedReader) -> bytes:
    """The digest of the whole file, read in pieces."""
    stream.seek(0)
    return hashlib.file_digest(stream, "sha256").digest()
