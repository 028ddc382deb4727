"""The sources, each read ahead by a thread of its own into a bounded queue: a slow stream stops the reading.

Items are handed out in turn, one of each source that has one, so that no source starves another.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Generator
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")
_READ_AHEAD = 4  # items of each source


class ReadAhead(Generic[T]):
    """Returns the sources' items, and never blocks longer than the given timeout."""

    def __init__(self, *sources: Iterable[T]) -> None:
        self._arrived = threading.Semaphore(0)  # one for each entry in the lanes' queues
        self._stopped = threading.Event()
        self._lanes = deque(_Lane(iter(source), self._arrived, self._stopped) for source in sources)

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left, or ``stop`` was called."""
        return self._stopped.is_set() or not self._lanes

    def next(self, timeout_s: float) -> T | None:
        """The next item, or None where none came in time or none is left (``exhausted``).

        Raises what a source raised, after its items.
        """
        deadline_s = time.monotonic() + timeout_s
        while not self.exhausted:
            left_s = deadline_s - time.monotonic()
            if not (self._arrived.acquire(timeout=left_s) if left_s > 0 else self._arrived.acquire(False)):
                return None
            lane, entry = self._take()
            if isinstance(entry, _End):
                self._lanes.remove(lane)
                if entry.error is not None:
                    raise entry.error
            else:
                return entry
        return None

    def stop(self) -> None:
        """Take no more from the sources."""
        self._stopped.set()

    def _take(self) -> tuple[_Lane[T], T | _End]:
        """The entry of the lane whose turn it is; the semaphore guarantees that there is one."""
        while True:
            lane = self._lanes[0]
            self._lanes.rotate(-1)
            try:
                return lane, lane.entries.get_nowait()
            except queue.Empty:
                continue


class _End:
    """What follows a source's last item."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Lane(Generic[T]):
    """One source, its thread and its queue."""

    def __init__(self, source: Iterator[T], arrived: threading.Semaphore, stopped: threading.Event) -> None:
        self.entries: queue.Queue[T | _End] = queue.Queue(_READ_AHEAD)
        self._source = source
        self._arrived = arrived
        self._stopped = stopped
        threading.Thread(target=self._read, name="source", daemon=True).start()

    def _read(self) -> None:
        try:
            for item in self._source:
                self._put(item)
                if self._stopped.is_set():
                    return
            self._put(_End(None))
        except BaseException as error:  # noqa: BLE001 (raised where the items are taken)
            self._put(_End(error))
        finally:
            if isinstance(self._source, Generator):  # a stopped one still holds what it has opened
                self._source.close()

    def _put(self, entry: T | _End) -> None:
        while not self._stopped.is_set():
            try:
                self.entries.put(entry, timeout=0.1)
            except queue.Full:
                continue
            self._arrived.release()
            return
