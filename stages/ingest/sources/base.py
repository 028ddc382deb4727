"""The contract of a source: it yields work, learns when a unit of it is finished, and is closed.

A *unit* is what is finished as a whole: a batch of short series, all pieces of a longer one, or a file that
cannot be opened. A source may forget a unit once ``finished`` was called for it, and not before: a unit that
never finishes (the run was stopped or killed) is due again in the next run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from stages.batches import Copied, Located, Refused

Unit = tuple[Located, ...] | Refused


class Source(Protocol):
    """Work from one place.

    It is iterated once, in a thread of its own, and may block there. ``finished`` and ``close`` come from
    another thread, also while the iteration goes on. ``close`` is called exactly once, after the iteration
    has ended or was abandoned; it is not called when the process is killed.
    """

    def __iter__(self) -> Iterator[Located | Refused | Copied]:
        """All work, the pieces of one series consecutively; and copies, which are no work."""

    @property
    def scanned(self) -> int:
        """How many files were looked at so far."""

    def finished(self, unit: Unit) -> None:
        """Every row is indexed or rejected, durably, and delivered or undeliverable."""

    def close(self) -> None:
        """Release what the source holds."""


def units(found: Iterable[Located | Refused | Copied]) -> Iterator[Unit | Copied]:
    """The same work, in units."""
    pieces: list[Located] = []
    for item in found:
        if not isinstance(item, Located):
            yield item
            continue
        pieces.append(item)
        if len(pieces) == item.parts:
            yield tuple(pieces)
            pieces = []
