"""Append: encrypted blocks become entries of the verifiable log, durable before they are returned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from stages.base import Reason, Reject, Split
from stages.batches import Entries, Sealed
from stages.encrypt.public.inspection import load_demands
from stages.encrypt.public.signing import load_inspector
from stages.index.copies.mirror import mirrored
from stages.index.options import IndexOptions
from stages.index.session import open_writer

_NOTHING: Final = Entries((), np.empty(0, np.int64), (), np.empty(0, np.bool_))


@dataclass(frozen=True, slots=True)
class Append:
    """Sealed to Entries. One writer per index: a second one ends with ``BusyError``.

    The log states by which model, the SHA-256 of its weights, the features were made, and refuses another's.
    Keys that are in the log already come back with ``fresh_N`` False. What was erased stays erased: such a
    key is rejected. So are the rows of a signed block that no search could read. A block that no worker of
    the bundle signed ends with ``SignatureRefusedError``; nothing is written.
    """

    options: IndexOptions
    path: Path
    keys: Path  # the site's folder, or the key folder around it
    model: bytes
    dimensions: int  # of the model's features
    name: ClassVar[str] = "append"

    @contextmanager
    def open(self) -> Iterator[Callable[[Sealed], Split[Entries]]]:
        """Lock and recover the index; make it where there is none."""
        inspector, demands = load_inspector(self.keys), load_demands(self.keys, self.dimensions)
        copy = mirrored(self.path, self.options.objects)
        with copy as appended, open_writer(self.path, self.options, self.model) as writer:

            def append(block: Sealed) -> Split[Entries]:
                inspector.check(block)
                if refusal := demands.refusal(block):
                    rejected = (
                        Reject(key, self.name, refusal.reason, refusal.detail) for key in block.rows.keys
                    )
                    return Split(_NOTHING, tuple(rejected))
                split = _split(block, writer.append(block))
                appended()
                return split

            yield append


def _split(block: Sealed, entries: Entries) -> Split[Entries]:
    there = set(entries.keys)
    gone = [key for key in block.rows.keys if key not in there]
    detail = "The record was erased from the index, which does not take it again."
    return Split(entries, tuple(Reject(key, Append.name, Reason.ERASED, detail) for key in gone))
