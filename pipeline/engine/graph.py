"""The stream as an inert, typed value: mis-wiring stages is a type error.

A graph has a *front* that a piece of work passes (ingest → preprocess → segment), a *side* that complete
series pass (deliver), a *gather* that regroups rows into blocks, and a *back* that a block passes
(encrypt → append). Each is a chain of stages.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from actors.host import Hop
from stages.base import Batch, Divisible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.engine.turns import NamesOf
    from stages.base import Stage

A = TypeVar("A", bound=Batch)
B = TypeVar("B", bound=Batch)
C = TypeVar("C", bound=Batch)
D = TypeVar("D", bound=Divisible)


class GraphError(ValueError):
    """The stages do not fit together, or the hops named in the configuration do not fit the stages."""


@dataclass(frozen=True)
class Graph(Generic[A, B]):
    """Stages from A to B, and how they are connected; nothing runs."""

    front: tuple[Stage[Any, Any], ...]
    side: tuple[Stage[Any, Any], ...] = ()
    side_join: Callable[[Sequence[Any]], Any] | None = None
    apart: NamesOf | None = None
    narrow: Callable[[Any], Any] | None = None
    block_join: Callable[[Sequence[Any]], Any] | None = None
    back: tuple[Stage[Any, Any], ...] = ()

    def __post_init__(self) -> None:
        """Raise GraphError where a name stands twice: hops, replicas, receipts and metrics go by it."""
        counts = Counter(stage.name for stage in (*self.front, *self.side, *self.back))
        for name, count in counts.items():
            if count > 1:
                raise GraphError(f"{count} stages are named {name}: give each a name of its own")

    @staticmethod
    def of(stage: Stage[A, B]) -> Graph[A, B]:
        """The graph of one stage."""
        return Graph((stage,))

    def then(self, stage: Stage[B, C]) -> Graph[A, C]:
        """Pass what comes out to a further stage."""
        if self.narrow is None:
            return replace(self, front=(*self.front, stage))  # type: ignore[return-value]  # B becomes C
        return replace(self, back=(*self.back, stage))  # type: ignore[return-value]  # B becomes C

    def beside(
        self, leg: Graph[C, Any], join: Callable[[Sequence[B]], C], apart: NamesOf | None = None
    ) -> Graph[A, B]:
        """Give complete series to a chain of stages whose answer is not part of the stream.

        ``join`` makes one batch of all that the front made of a series. ``apart`` names what a piece of work
        writes there: units that have a name in common pass one after another, as they came. Raises
        GraphError where there is a side leg already, after ``gather``, and where the leg itself has a side
        leg or gathers.
        """
        if self.side:
            names = "+".join(stage.name for stage in self.side)
            raise GraphError(f"the graph has a side leg already ({names}): chain further stages to it")
        if self.narrow is not None:
            raise GraphError("a side leg takes what the front makes: add it before gather")
        if leg.side or leg.narrow is not None:
            raise GraphError("a side leg is a plain chain of stages: it neither gathers nor has a side leg")
        return replace(self, side=leg.front, side_join=join, apart=apart)

    def gather(self, narrow: Callable[[B], D], join: Callable[[Sequence[D]], D]) -> Graph[A, D]:
        """Keep only what ``narrow`` takes of each batch and regroup the rows into blocks.

        Raises GraphError where the graph gathers already.
        """
        if self.narrow is not None:
            raise GraphError("the graph gathers already: rows are regrouped once")
        return replace(self, narrow=narrow, block_join=join)  # type: ignore[return-value]  # B becomes C

    def hops(self, plan: Sequence[str], replicas: dict[str, int]) -> Hops:
        """Fuse stages into hops by a plan such as ``("ingest+preprocess", "segment", "encrypt")``.

        Stages that the plan does not name stay alone. ``replicas`` is by stage name; a fused hop has
        the largest of its stages' numbers. Raises GraphError on unknown stages, on stages that are not
        neighbours and on a second replica of the last stage, which is a single writer.
        """
        groups = [tuple(part.split("+")) for part in plan]
        stages = (*self.front, *self.back, *self.side)
        known = {stage.name for stage in stages}
        named = [name for group in groups for name in group]
        for name in [*named, *replicas]:
            if name not in known:
                raise GraphError(f"there is no stage {name!r}; the stages are {', '.join(sorted(known))}")
        front = _fuse(self.front, groups, replicas)
        back = _fuse(self.back, groups, replicas)
        front[-1] = replace(front[-1], narrow=self.narrow, last=True, report=not back)
        if back:
            back[0] = replace(back[0], join=self.block_join)
            back[-1] = replace(back[-1], last=True, report=True)
        if (back or front)[-1].replicas != 1:
            raise GraphError(f"{(back or front)[-1].name} is a single writer: its replicas must be 1")
        side = _fuse(self.side, groups, replicas)
        if side:
            side[0] = replace(side[0], join=self.side_join)
            side[-1] = replace(side[-1], last=True, report=True)
        return Hops(tuple(front), tuple(back), tuple(side), self.apart)


@dataclass(frozen=True)
class Hops:
    """A graph cut into what single hosts run."""

    front: tuple[Hop, ...]
    back: tuple[Hop, ...]
    side: tuple[Hop, ...]
    apart: NamesOf | None = None  # see ``Graph.beside``

    def legs(self) -> dict[str, tuple[Hop, ...]]:
        """The hops a batch passes in one go, by the leg's name; a leg without hops is left out."""
        legs = {"front": self.front, "back": self.back, "side": self.side}
        return {name: hops for name, hops in legs.items() if hops}


def _fuse(
    stages: Sequence[Stage[Any, Any]],
    groups: Sequence[tuple[str, ...]],
    replicas: dict[str, int],
) -> list[Hop]:
    hops: list[Hop] = []
    names = [stage.name for stage in stages]
    at = 0
    while at < len(stages):
        group = next((group for group in groups if names[at] in group), (names[at],))
        if tuple(names[at : at + len(group)]) != group:
            raise GraphError(f"{'+'.join(group)} cannot be one hop: the stages' order is {', '.join(names)}")
        fused = tuple(stages[at : at + len(group)])
        hops.append(Hop(fused, replicas=max(replicas.get(name, 1) for name in group)))
        at += len(group)
    return hops
