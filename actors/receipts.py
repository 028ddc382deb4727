"""What travels to the pump in place of data: counts, times and rejects, a few hundred bytes a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stages.base import Counted, Reject


@dataclass(frozen=True, slots=True)
class Lap:
    """One stage's share of a receipt. ``rows == kept + rejected`` holds for every lap."""

    stage: str
    rows: int
    kept: int
    seconds: float
    counters: Mapping[Counted, int] = field(default_factory=dict)  # of the rows kept, see ``Batch.counters``


@dataclass(frozen=True, slots=True)
class Receipt:
    """One batch's passage through one host."""

    laps: tuple[Lap, ...]
    rejects: tuple[Reject, ...]
    keys: tuple[bytes, ...]  # of the rows that came out, from a leg's last hop only
    nbytes: int  # of the arrays and byte strings that came out
    ended_s: float  # UNIX time
    pid: int
    rss_bytes: int  # resident memory of the host's process
    result: Any = None  # the output itself, from a last hop only: small by contract
