"""Counting what a source gives again: a series that has grown comes once more, whole, its frames count once.

The counts of the last unit replace the earlier ones, except for frames that an earlier unit has indexed:
these stay indexed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from pipeline.run.dead_letters import Letter


@dataclass(frozen=True, slots=True)
class Recount:
    """What of all counts so far does not count, once a unit is finished; any of it may be negative."""

    kept: int
    rejected: int
    undelivered: int
    reasons: Counter[str]


def recount(
    rows: int, before: Collection[Letter], now: Collection[Letter], after: Collection[Letter]
) -> Recount:
    """Of rows that an earlier unit held: their letters until now, as this unit counts, and from now on."""
    counted = _rejected(before)
    kept = rows - _rejected(now) + _rejected(after) - counted
    reasons = Counter(letter.reason for letter in before if letter.counted)
    reasons.subtract(letter.reason for letter in after if letter.counted)
    undelivered = (len(before) - counted) - (len(after) - _rejected(after))
    return Recount(kept, rows - kept, undelivered, reasons)


def _rejected(letters: Collection[Letter]) -> int:
    return sum(letter.counted for letter in letters)
