"""The contract between the pump and the crew that runs the hops, on threads or on Ray.

A *flight* is one batch on its way through all hops of a leg, submitted at once; each hop lands with a
receipt. When the infrastructure fails (a killed process, a lost object) the flight lands once as ``Lost``
and never again; the pump then decides what to repeat. A stage that raises is a bug and ends the run with
``StageFailed``.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from stages.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actors.receipts import Receipt

CLOSING_S: Final = 10.0  # a warning names the stages that are still closing, this often
_LOG: Final = logging.getLogger(__name__)


class StageFailed(EngineError):  # noqa: N818 (reads as a verdict on a stage)
    """A stage raised, or could not be opened: the run ends."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The infrastructure failed under a flight; its rows are untouched and may be submitted again."""

    cause: str


@dataclass(frozen=True, eq=False)
class Flight:
    """Handles to the outputs of one trip; only the crew reads them."""

    leg: str
    hops: int
    output: Any
    narrowed: Any


@dataclass(frozen=True, slots=True)
class Landing:
    """The outcome of one hop of a flight: its receipt, or a loss."""

    flight: Flight
    hop: int
    news: Receipt | Lost


class Crew(Protocol):
    """Runs the hops of each leg. Not thread-safe: one pump, one crew."""

    def submit(self, leg: str, rows: range | None, loads: Sequence[Any]) -> Flight:
        """Send these rows of the joined loads through all hops of a leg; None means all rows.

        A load is a batch, or the ``output`` or ``narrowed`` of an earlier flight.
        """

    def landed(self, timeout_s: float) -> list[Landing]:
        """Landings since the last call; waits up to ``timeout_s`` if there are none. Raises StageFailed."""

    def close(self) -> None:
        """Release every host, however long each takes; flights in the air are abandoned.

        Raises StageFailed, once all are released, where a stage could not be closed in order.
        """


@contextmanager
def manned(crew: Crew) -> Iterator[Crew]:
    """Yields the crew and closes it; of two failures the first is raised and the other logged."""
    try:
        yield crew
    except BaseException:  # an interrupt as well: processes and threads must not be left behind
        try:
            crew.close()
        except StageFailed as error:
            _LOG.error("after the failure of the run, a stage could not be closed: %s", error)
        raise
    crew.close()


def log_closing(names: Sequence[str], waited_s: float) -> None:
    """Log the stages that are still closing: a sink may have much to write."""
    _LOG.warning("closing for %.0f s so far, not finished yet: %s", waited_s, ", ".join(names))
