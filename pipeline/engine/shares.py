"""Which part of a GPU each replica takes, decided before anything opens.

Ray would let an actor that fits nowhere wait, and the run with it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pipeline.engine.graph import GraphError, Hops

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from actors.host import Hop

UNITS: Final = 10_000  # of a GPU: Ray counts in ten-thousandths


def shared(hops: Hops, on_gpu: Collection[str], named: Mapping[str, float], gpus: int) -> Hops:
    """The hops, those with a stage ``on_gpu`` with a part of a GPU for each replica.

    A hop takes the largest part that is ``named`` for one of its stages; the others have even parts of what
    is left. Raises GraphError for an unknown stage, and where the parts do not fit this many GPUs.
    """
    every = [hop for leg in hops.legs().values() for hop in leg]
    known = sorted(name for hop in every for name in _names(hop))
    for name in named:
        if name not in known:
            raise GraphError(f"there is no stage {name!r}; the stages are {', '.join(known)}")
    wanting = [hop for hop in every if set(_names(hop)) & set(on_gpu)]
    units = {hop.name: max(_units(named, name) for name in _names(hop)) for hop in wanting}
    left = _placed([(hop, units[hop.name]) for hop in wanting if units[hop.name]], gpus)
    rest = [hop.name for hop in wanting if not units[hop.name]]
    even = _even(left, sum(hop.replicas for hop in wanting if hop.name in rest)) if rest else 0
    if rest and not even:
        raise GraphError(
            f"gpu_shares leave no part of {gpus} GPU(s) for {' and '.join(rest)}: lower flow.gpu_shares"
        )
    part = {name: (found or even) / UNITS for name, found in units.items()}
    front, back, side = (
        tuple(replace(hop, gpus=part.get(hop.name, 0.0)) for hop in leg)
        for leg in (hops.front, hops.back, hops.side)
    )
    return replace(hops, front=front, back=back, side=side)


def _names(hop: Hop) -> list[str]:
    return [stage.name for stage in hop.stages]


def _units(named: Mapping[str, float], name: str) -> int:
    """At least one for a part that is named."""
    return max(round(named[name] * UNITS), 1) if name in named else 0


def _placed(wanted: Sequence[tuple[Hop, int]], gpus: int) -> list[int]:
    """What is left of each GPU, the largest parts placed first, as no replica is on two."""
    left = [UNITS] * gpus
    for hop, part in sorted(wanted, key=lambda one: -one[1]):
        for _ in range(hop.replicas):
            at = next((at for at, free in enumerate(left) if free >= part), None)
            if at is None:
                asked = ", ".join(
                    f"{one.replicas} x {units / UNITS:g} for {one.name}" for one, units in wanted
                )
                raise GraphError(
                    f"the parts of GPUs do not fit {gpus} GPU(s): {asked}; lower replicas or gpu_shares"
                )
            left[at] -= part
    return left


def _even(left: Sequence[int], replicas: int) -> int:
    """The largest 1/k share that fits ``replicas`` times; 0 if none."""
    for tenants in range(1, UNITS + 1):
        part = UNITS // tenants
        if sum(free // part for free in left) >= replicas:
            return part
    return 0
