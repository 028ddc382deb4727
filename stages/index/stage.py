"""Append: encrypted blocks become entries of the verifiable log, durable before they are returned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stages.base import Split
from stages.batches import Entries, Sealed
from stages.encrypt.signing import load_inspector
from stages.index.writer import IndexOptions, open_writer


@dataclass(frozen=True, slots=True)
class Append:
    """Sealed to Entries. One writer per index: a second one ends with ``BusyError``.

    Nothing is rejected here. Keys that are in the log already come back with ``fresh_N`` False. A block
    that no worker of the public bundle signed ends with ``SignatureRefusedError``; nothing is written.
    """

    options: IndexOptions
    path: Path
    keys: Path  # the key folder or its public/
    name: ClassVar[str] = "append"

    @contextmanager
    def open(self) -> Iterator[Callable[[Sealed], Split[Entries]]]:
        """Lock and recover the index; make it where there is none."""
        inspector = load_inspector(self.keys)
        with open_writer(self.path, self.options) as writer:

            def append(block: Sealed) -> Split[Entries]:
                inspector.check(block)
                return Split(writer.append(block))

            yield append
