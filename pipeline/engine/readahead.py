"""The source, read ahead by one thread into a bounded queue: a slow stream stops the reading."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
_READ_AHEAD = 4


class ReadAhead(Generic[T]):
    """Hands out a source's items without ever blocking longer than asked."""

    def __init__(self, source: Iterator[T]) -> None:
        self._source = source
        self._queue: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(_READ_AHEAD)
        self._stopped = threading.Event()
        self.exhausted = False
        threading.Thread(target=self._read, name="source", daemon=True).start()

    def next(self, timeout_s: float) -> T | None:
        """The next item, or None where none came in time or none is left (``exhausted``)."""
        if self.exhausted:
            return None
        try:
            item, error = self._queue.get(timeout=timeout_s) if timeout_s else self._queue.get_nowait()
        except queue.Empty:
            return None
        if error is not None:
            raise error
        self.exhausted = item is None
        return item

    def stop(self) -> None:
        """Take no more from the source."""
        self._stopped.set()
        self.exhausted = True

    def _read(self) -> None:
        try:
            for item in self._source:
                self._put((item, None))
                if self._stopped.is_set():
                    return
            self._put((None, None))
        except BaseException as error:  # noqa: BLE001 (raised where the feed is read)
            self._put((None, error))
        finally:
            if isinstance(self._source, Generator):  # a stopped one still holds what it has opened
                self._source.close()

    def _put(self, entry: tuple[T | None, BaseException | None]) -> None:
        while not self._stopped.is_set():
            try:
                self._queue.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return
