"""The one actor class: every stage runs in it, alone or fused with its neighbours.

Plain Python, so that the local executor runs the very same code in a thread.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from actors.receipts import Lap, Receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stages.base import Batch, Reject, Split, Stage


class StageContractError(RuntimeError):
    """A stage lost or invented rows: a bug, never bad data."""


@dataclass(frozen=True)
class Hop:
    """What one host runs: fused stages, how their inputs are joined, what leaves beside the batch.

    ``narrow`` makes the part of the output that goes on from the part that stays (features from
    masks), so that the next hop never pulls what it does not need. The ``last`` hop of a leg reports the keys
    of the rows that came out; ``report`` puts the output itself, small by contract, into the receipt.
    """

    stages: tuple[Stage[Any, Any], ...]
    join: Callable[[Sequence[Any]], Any] | None = None
    narrow: Callable[[Any], Any] | None = None
    last: bool = False
    report: bool = False
    replicas: int = 1
    cpus: float = 0.25
    gpus: float = 0.0

    @property
    def name(self) -> str:
        """The fused stages' names, joined by ``+``."""
        return "+".join(stage.name for stage in self.stages)


class Host:
    """Opens a hop's stages once and passes batches through them."""

    def __init__(self, hop: Hop) -> None:
        self._hop = hop
        with ExitStack() as stack:  # a stage that cannot be opened releases those before it
            self._functions = [(stage.name, stack.enter_context(stage.open())) for stage in hop.stages]
            self._stack = stack.pop_all()
        self._process = psutil.Process()

    def run(self, rows: range | None, *batches: Batch | None) -> tuple[Any, Any, Receipt]:
        """Pass these rows of the joined batches through the stages; None means all rows.

        Returns (output, narrowed output, receipt). An output without rows is None; so is what comes of a
        None that arrives.
        """
        batch = self._input(rows, [batch for batch in batches if batch is not None])
        laps: list[Lap] = []
        rejects: list[Reject] = []
        for name, function in self._functions:
            if batch is None:
                break
            began = time.perf_counter()
            split = function(batch)
            seconds = time.perf_counter() - began
            laps.append(Lap(name, len(batch), len(split.kept), seconds, split.kept.counters))
            _check(name, len(batch), split)
            rejects += split.rejected
            batch = split.kept if len(split.kept) else None
        narrowed = self._hop.narrow(batch) if self._hop.narrow and batch is not None else None
        receipt = Receipt(
            laps=tuple(laps),
            rejects=tuple(rejects),
            keys=batch.keys if self._hop.last and batch is not None else (),
            nbytes=nbytes(batch),
            ended_s=time.time(),
            pid=os.getpid(),
            rss_bytes=self._process.memory_info().rss,
            result=batch if self._hop.report else None,
        )
        return batch, narrowed, receipt

    def close(self) -> None:
        """Release what the stages hold."""
        self._stack.close()

    def _input(self, rows: range | None, batches: list[Any]) -> Any:
        if not batches:
            return None
        batch = self._hop.join(batches) if self._hop.join and len(batches) > 1 else batches[0]
        if rows is None or rows == range(len(batch)):
            return batch
        return batch.cut(rows.start, rows.stop)


def _check(name: str, rows: int, split: Split[Any]) -> None:
    answered = len(split.kept) + len(split.rejected)
    if answered != rows:
        raise StageContractError(f"stage {name} was given {rows} rows and answered for {answered}")


def nbytes(value: Any) -> int:
    """Bytes of every array and byte string reachable through dataclasses, tuples and lists."""
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, (tuple, list)):
        return sum(nbytes(item) for item in value)
    if is_dataclass(value):
        return sum(nbytes(getattr(value, field.name)) for field in fields(value))
    return 0
