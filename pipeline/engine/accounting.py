"""Accounting: every row of every piece is resolved exactly once, whatever fails in between.

A *unit* is work that is finished as a whole: one piece, or all pieces of a series that was cut. It is
finished when each of its rows is indexed or rejected and its results are delivered; only then does the
ledger record it, so that a resumed run repeats whole units.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from stages.base import Reject
    from stages.batches import Located
    from stages.places import Place


@dataclass(frozen=True, slots=True)
class Finished:
    """A unit is finished."""

    pieces: tuple[Located, ...]
    kept: int
    rejected: int
    seconds: float  # from admission to finished, queueing included
    unit: int = 0  # its number in the run


@dataclass(frozen=True, slots=True)
class Rejected:
    """A reject with the place it came from, for the dead letters."""

    reject: Reject
    place: Place
    counted: bool = True  # False: the row is indexed all the same, only its delivery failed
    again: bool = False  # an earlier unit of the run held this row and has counted it
    unit: int = 0  # the number of its unit in the run


@dataclass
class Account:
    """The open account of one unit."""

    parts: int
    number: int = 0  # in the run
    admitted_s: float = field(default_factory=time.monotonic)
    pieces: list[Located] = field(default_factory=list)
    outputs: dict[int, Any] = field(default_factory=dict)  # by first row: what the side leg will get
    kept: list[bytes] = field(default_factory=list)  # keys of the rows in ``outputs``
    rejections: Counter[bytes] = field(default_factory=Counter)  # of each record id
    rows: int = 0
    passed: int = 0  # rows through the front, kept or not
    rejected: int = 0
    indexed: int = 0
    delivered: bool = False
    # Its turn among units that have a name in common with it (turns.py):
    names: frozenset[Hashable] = frozenset()
    after: list[Account] = field(default_factory=list, repr=False)
    followers: list[Account] = field(default_factory=list, repr=False)
    held: bool = False
    under_way: bool = False  # to delivery
    closed: bool = False

    def add(self, piece: Located) -> int:
        """Open a piece's account; returns the unit-wide number of its first row."""
        first = self.rows
        self.pieces.append(piece)
        self.rows += len(piece)
        return first

    @property
    def through(self) -> bool:
        """Whether all rows have passed the front."""
        return len(self.pieces) == self.parts and self.passed == self.rows

    @property
    def finished(self) -> bool:
        """Whether nothing is open any more."""
        return self.through and self.delivered and self.indexed + self.rejected == self.rows

    def row_of(self, key: bytes, copy: int = 0) -> tuple[Place, bool]:
        """Where a row was read, and whether it was given again.

        Of rows with one key (copies of a file) that of this number.
        """
        rows = [
            (piece.places[row], piece.again[row])
            for piece in self.pieces
            for row, one in enumerate(piece.keys)
            if one == key
        ]
        if not rows:
            raise KeyError(key.hex())
        return rows[copy % len(rows)]

    def reject(self, rejects: Iterable[Reject], *, counted: bool = True) -> list[Rejected]:
        """Account for rows that go no further; with ``counted`` False they are reported, not counted."""
        letters = []
        for reject in rejects:
            place, again = self.row_of(reject.key, self.rejections[reject.key])
            letters.append(Rejected(reject, place, counted, again, self.number))
            self.rejections[reject.key] += 1
        self.rejected += len(letters) if counted else 0
        return letters

    def close(self) -> Finished:
        """The outcome of the finished unit."""
        seconds = time.monotonic() - self.admitted_s
        return Finished(tuple(self.pieces), self.indexed, self.rejected, seconds, self.number)
