"""Keeps the key tree near the log's end while a writer works, so that proofs of absence are recent.

One round hashes most of the tree, however few records are new, and so costs more than the appends it covers.
The keeper therefore bounds its share of the time: after a round it rests ``SHARE`` times as long as the round
took, and at least ``EVERY_S``. ADR 10 has the figures. When the writer closes, a last round covers the log.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

from stages.index.publish import Publisher
from stages.index.store.keytree_file import caught_up
from stages.index.store.tiles import Tiles
from stages.index.verifier import KeyRoot

EVERY_S: Final = 60.0
SHARE: Final = 50


class KeyKeeper:
    """Works in a thread of its own. What fails there is raised by the next append."""

    def __init__(self, directory: Path, publisher: Publisher) -> None:
        self._directory = directory
        self._publisher = publisher
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="key keeper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; return when the round that it is in has ended."""
        self._stopped.set()
        self._thread.join()

    def keep(self) -> None:
        """Bring the tree to the end of the published log, and publish a checkpoint that states its root."""
        known, size = self._publisher.keys, self._publisher.published
        if known is not None and known.size < size:
            tree = caught_up(self._directory, Tiles(self._directory, size), known)
            self._publisher.restate(KeyRoot(size, tree.root))

    def _run(self) -> None:
        rest_s = EVERY_S
        while not self._stopped.wait(rest_s):
            began_s = time.monotonic()
            try:
                self.keep()
            except BaseException as error:  # noqa: BLE001 - raised by the next append
                self._publisher.fail(error)
                return
            rest_s = max(EVERY_S, SHARE * (time.monotonic() - began_s))
