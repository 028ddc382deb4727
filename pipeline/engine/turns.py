"""Turns: units that have something in common are delivered one after another, and finished in that order.

Two deliveries of one series at a time would destroy each other's files, and of two accounts of one frame
the later must count. What units have in common is for the graph to say (``Graph.beside``). A unit
takes its place when the last of its pieces is admitted: the units that it waits for came before it and need
nothing more of the sources, so every wait ends, also while nothing is admitted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.engine.accounting import Account
    from stages.batches import Located

NamesOf = Callable[["Located"], Iterable[Hashable]]


class Turns:
    """Who waits for whom. It holds the units that are not finished, and no others."""

    def __init__(self, names: NamesOf | None) -> None:
        self._names = names
        self._last: dict[Hashable, Account] = {}  # the last unit that came, by each of its names
        self.held = 0  # units that wait for their delivery

    def enter(self, unit: Account) -> None:
        """Take a place behind those that have a name in common; all pieces are there."""
        if self._names is None:
            return
        unit.names = frozenset(name for piece in unit.pieces for name in self._names(piece))
        earlier = {id(one): one for name in unit.names if (one := self._last.get(name)) is not None}
        unit.after = list(earlier.values())
        for one in unit.after:
            one.followers.append(unit)
        self._last.update(dict.fromkeys(unit.names, unit))

    def may_deliver(self, unit: Account) -> bool:
        """Whether the unit is through and it is its turn; from then on it is under way."""
        if unit.under_way or not unit.through:
            return False
        ready = all(one.delivered for one in unit.after)
        self.held += (not ready) - unit.held
        unit.held, unit.under_way = not ready, ready
        return ready

    def may_close(self, unit: Account) -> bool:
        """Whether nothing is open any more, nor of those before it; then its place is free."""
        if unit.closed or not unit.finished or not all(one.closed for one in unit.after):
            return False
        unit.closed = True
        unit.after.clear()
        for name in unit.names:
            if self._last[name] is unit:
                del self._last[name]
        return True
