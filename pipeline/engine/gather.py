"""Regroups rows into blocks: by count, by age, at the end. Holds handles and keys, never data."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.engine.accounting import Account
    from stages.base import Reject


@dataclass(frozen=True, slots=True)
class Share:
    """Consecutive rows of a trip that belong to one unit."""

    unit: Account
    keys: tuple[bytes, ...]
    first: int = 0  # the unit-wide number of the first row, where it matters


class Gather:
    """Loads waiting to fill a block of at most ``block`` rows."""

    def __init__(self, block: int, age_s: float) -> None:
        self._block = block
        self._age_s = age_s
        self._waiting: deque[tuple[Any, Share, float]] = deque()
        self.rows = 0

    def add(self, load: Any, share: Share) -> None:
        """Let rows wait. One load never exceeds a block."""
        if len(share.keys) > self._block:
            raise ValueError(f"a load of {len(share.keys)} rows does not fit a block of {self._block}")
        self._waiting.append((load, share, time.monotonic()))
        self.rows += len(share.keys)

    def due(self, *, ending: bool) -> tuple[tuple[Any, ...], tuple[Share, ...]] | None:
        """A block that is full or old; the remaining rows once no more come."""
        if not self._waiting:
            return None
        old = time.monotonic() - self._waiting[0][2] >= self._age_s
        if not (old or ending or self.rows >= self._block):
            return None
        loads, shares, rows = [], [], 0
        while self._waiting and rows + len(self._waiting[0][1].keys) <= self._block:
            load, share, _ = self._waiting.popleft()
            loads.append(load)
            shares.append(share)
            rows += len(share.keys)
        self.rows -= rows
        return tuple(loads), tuple(shares)


def cut(shares: Sequence[Share], rows: range) -> list[Share]:
    """The shares of these rows."""
    kept, at = [], 0
    for share in shares:
        begin, end = max(rows.start - at, 0), min(rows.stop - at, len(share.keys))
        if begin < end:
            kept.append(Share(share.unit, share.keys[begin:end], share.first + begin))
        at += len(share.keys)
    return kept


def claim(shares: Sequence[Share], rejects: Sequence[Reject]) -> list[tuple[Share, list[Reject]]]:
    """Each reject under the share it belongs to; a key that stands twice is claimed once each."""
    open_keys = [list(share.keys) for share in shares]
    claimed: list[list[Reject]] = [[] for _ in shares]
    for reject in rejects:
        number = next(number for number, keys in enumerate(open_keys) if reject.key in keys)
        open_keys[number].remove(reject.key)
        claimed[number].append(reject)
    return list(zip(shares, claimed, strict=True))
