"""Trips, and what happens to one that is lost: again once, then alone, then in halves down to the single row.

A lost trip may have killed its worker or only been beside one that did. It is submitted again once. A trip
that is lost twice is a *suspect* and flies alone, so that it kills no neighbours; a suspect that is lost
alone is halved until one row is left, and that row is poison. A delivery is never halved: a series is
delivered whole.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from pipeline.engine.gather import Share, cut

_ALONE = 2  # a trip that was lost this often is submitted alone


@dataclass
class Trip:
    """Rows of some loads on their way through a leg, and whose rows they are."""

    leg: str
    loads: tuple[Any, ...]
    rows: range | None  # of the joined loads; None: all of them, however many are left
    all_shares: tuple[Share, ...]  # of all rows of the loads, in order
    losses: int = 0

    @property
    def shares(self) -> list[Share]:
        """The shares of this trip's rows."""
        return list(self.all_shares) if self.rows is None else cut(self.all_shares, self.rows)

    @property
    def count(self) -> int:
        """How many rows are on the way."""
        return sum(len(share.keys) for share in self.all_shares) if self.rows is None else len(self.rows)

    @property
    def suspect(self) -> bool:
        """Whether it flies alone."""
        return self.losses >= _ALONE

    def halves(self, rows: range) -> tuple[Trip, Trip]:
        """These rows as two trips."""
        middle = len(rows) // 2
        first, second = rows[:middle], rows[middle:]
        return (
            Trip(self.leg, self.loads, first, self.all_shares, _ALONE),
            Trip(self.leg, self.loads, second, self.all_shares, _ALONE),
        )


class Retries:
    """Lost trips that wait to be submitted again."""

    def __init__(self) -> None:
        self._again: deque[Trip] = deque()
        self._suspects: deque[Trip] = deque()

    def __bool__(self) -> bool:
        return bool(self._again or self._suspects)

    @property
    def suspects(self) -> bool:
        """Whether a suspect waits."""
        return bool(self._suspects)

    def again(self) -> list[Trip]:
        """Take the trips that may fly beside others."""
        trips = list(self._again)
        self._again.clear()
        return trips

    def alone(self) -> Trip:
        """Take the next suspect; nothing else may be in the air."""
        return self._suspects.popleft()

    def lost(self, trip: Trip) -> bool:
        """Queue what is left to try; False if nothing is: the single row or the delivery kills its worker."""
        trip.losses += 1
        rows = trip.rows if trip.rows is not None and len(trip.rows) > 1 else None
        if not trip.suspect:
            self._again.append(trip)
        elif trip.losses == _ALONE or (rows is None and trip.losses <= _ALONE + 1):
            self._suspects.append(trip)
        elif rows is not None:
            self._suspects.extendleft(reversed(trip.halves(rows)))
        else:
            return False
        return True
