"""A copy in object storage that follows the writer: pushed when a segment is full, and in the end.

The appends never wait for it and never fail by it. A push that fails is a warning in the log, loses nothing
and is made up for by the next one, or by ``medsecure index push``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from stages.index.copies.bucket import open_store, refuse_secret
from stages.index.copies.push import push
from stages.index.errors import IndexStoreError
from stages.index.store.manifest import MANIFEST

_LOOK_S: Final = 1.0  # between two checks whether a segment is full
_LOG: Final = logging.getLogger(__name__)


@contextmanager
def mirrored(directory: Path, uri: str | None) -> Iterator[Callable[[], None]]:
    """Keep a copy of the index at the URI; without one, none. Say ``appended()`` after each append.

    The last push is made on leaving, when the writer is closed, and waited for; not after an exception.
    """
    if uri is None:
        yield lambda: None
        return
    refuse_secret(uri)
    mirror = _Mirror(directory, uri)
    try:
        yield mirror.appended.set
    finally:
        mirror.stop()
    mirror.push()


class _Mirror:
    """A thread that pushes."""

    def __init__(self, directory: Path, uri: str) -> None:
        self.appended = threading.Event()
        self._directory = directory
        self._uri = uri
        self._stopped = threading.Event()
        self._segments = self._count()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Push by itself no more; a push that is under way is waited for."""
        self._stopped.set()
        self.appended.set()
        self._thread.join()

    def push(self) -> None:
        """Push now; a failure is logged, not raised."""
        try:
            push(self._directory, open_store(self._uri))
        except (IndexStoreError, OSError) as error:
            _LOG.warning("the copy of %s lies behind until the next push: %s", self._directory, error)

    def _run(self) -> None:
        while not self._stopped.wait(_LOOK_S):
            self.appended.wait()
            self.appended.clear()
            count = self._count()
            if count > self._segments and not self._stopped.is_set():
                self._segments = count
                self.push()

    def _count(self) -> int:
        """Segments; a new one means that the one before is full."""
        return sum(1 for _ in (self._directory / MANIFEST).parent.glob("*.arrows"))
