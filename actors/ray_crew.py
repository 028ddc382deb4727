"""The Ray crew: one actor a replica, chained object references from hop to hop.

The batch stays in the object store; only receipts come to the driver. Actors restart without limit and
their tasks are never retried by Ray: the crew reports a lost flight to the pump, which knows what is safe to
repeat (with Ray's own retries a poison batch kills its neighbours, or repeats without end).
"""

from __future__ import annotations

import os
import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from actors import crew
from actors.crew import Flight, Landing, Lost, StageFailed, log_closing
from actors.host import Hop, Host
from stages.errors import is_of_device

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ray import ObjectRef

    from actors.receipts import Receipt
    from stages.base import Batch

_REVIVAL_S = 120.0
_DEVICE_FAILED: Final = 70  # exit code of a worker whose accelerator failed (EX_SOFTWARE of sysexits.h)


@dataclass
class _Actor:
    """One actor and what was sent to it without an answer yet."""

    actor: Any  # Ray's handle types know neither num_returns nor restarts
    name: str
    outstanding: int = 0


@dataclass
class _Airborne:
    """A flight's receipts still to come, with the replica that owes each."""

    flight: Flight
    hop: int
    replica: _Actor


@dataclass
class RayCrew:
    """Runs hops in Ray actors. Raises StageFailed where a stage cannot be opened."""

    legs: Mapping[str, Sequence[Hop]]
    _pools: dict[str, list[list[_Actor]]] = field(init=False)
    _air: dict[ObjectRef[Any], _Airborne] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._pools = {leg: [_start(hop) for hop in hops] for leg, hops in self.legs.items()}
        for replica in self._replicas():
            _ready(replica)

    def submit(self, leg: str, rows: range | None, loads: Sequence[Any]) -> Flight:
        """See ``Crew.submit``."""
        chain: list[tuple[ObjectRef[Any], _Actor]] = []
        output: Any = None
        narrowed: Any = None
        for pool in self._pools[leg]:
            replica = min(pool, key=lambda one: one.outstanding)
            output, narrowed, receipt = replica.actor.run.remote(rows, *loads)
            replica.outstanding += 1
            chain.append((receipt, replica))
            rows, loads = None, [output]  # how many rows are left is known downstream only
        flight = Flight(leg, len(chain), output, narrowed)
        for hop, (receipt, replica) in enumerate(chain):
            self._air[receipt] = _Airborne(flight, hop, replica)
        return flight

    def landed(self, timeout_s: float) -> list[Landing]:
        """See ``Crew.landed``."""
        if not self._air:
            return []
        ready, rest = ray.wait(list(self._air), num_returns=1, timeout=timeout_s)
        if ready and rest:
            more, _ = ray.wait(rest, num_returns=len(rest), timeout=0)
            ready += more
        return [landing for ref in ready if (landing := self._settle(ref)) is not None]

    def close(self) -> None:
        """See ``Crew.close``. Hosts finish what they were sent and release their stages before they go."""
        self._air.clear()  # not cancelled: Ray halts an actor for 30 s where a task of its queue is missing
        try:
            failures = _close(self._replicas())
        finally:
            for replica in self._replicas():
                ray.kill(replica.actor)
        if failures:
            raise StageFailed("; ".join(failures))

    def _replicas(self) -> list[_Actor]:
        return [replica for pools in self._pools.values() for pool in pools for replica in pool]

    def _settle(self, ref: ObjectRef[Any]) -> Landing | None:
        airborne = self._air.pop(ref, None)
        if airborne is None:  # its flight was lost a moment ago
            return None
        airborne.replica.outstanding -= 1
        try:
            return Landing(airborne.flight, airborne.hop, ray.get(ref))
        except RayError as error:
            if _is_bug(error):
                raise StageFailed(f"{airborne.replica.name}: {_headline(error)}") from error
            self._abandon(airborne.flight)
            for replica in self._pools[airborne.flight.leg][airborne.hop]:
                _ready(replica)
            return Landing(airborne.flight, airborne.hop, Lost(_headline(error)))

    def _abandon(self, flight: Flight) -> None:
        for ref in [ref for ref, airborne in self._air.items() if airborne.flight is flight]:
            self._air.pop(ref).replica.outstanding -= 1


class _RayHost(Host):
    # task events of every batch would grow the cluster's control store without bound
    @ray.method(num_returns=3, enable_task_events=False)
    def run(self, rows: range | None, *batches: Batch | None) -> tuple[Any, Any, Receipt]:
        try:
            return super().run(rows, *batches)
        except Exception as error:  # torch and the drivers have no one class for a device that fails
            if not is_of_device(error):
                raise
            # Every later call on the device would fail in this process. To the pump a process that dies is a
            # lost flight, which it repeats in the next one; orderly ways out would end the actor for good.
            traceback.print_exc()
            os._exit(_DEVICE_FAILED)


def _start(hop: Hop) -> list[_Actor]:
    actor: Any = ray.remote(_RayHost)
    actor = actor.options(num_cpus=hop.cpus, num_gpus=hop.gpus, max_restarts=-1, max_task_retries=0)
    return [_Actor(actor.remote(hop), hop.name) for _ in range(hop.replicas)]


def _ready(replica: _Actor) -> None:
    """Wait until the actor answers; Ray restarts a killed one."""
    deadline = time.monotonic() + _REVIVAL_S
    while True:
        try:
            ray.get(replica.actor.__ray_ready__.remote(), timeout=_REVIVAL_S)
        except ActorDiedError as error:
            raise StageFailed(f"{replica.name}: {_headline(error)}") from error
        except RayError as error:
            if _is_bug(error) or time.monotonic() > deadline:
                raise StageFailed(f"{replica.name}: {_headline(error)}") from error
            time.sleep(0.05)
        else:
            return


def _close(replicas: Sequence[_Actor]) -> list[str]:
    """Let every host release its stages; what went wrong.

    A process that dies during that is closed once more, after its restart, which finishes its work.
    """
    began_s = time.monotonic()
    closing = {replica.actor.close.remote(): (replica, False) for replica in replicas}
    failures = []
    while closing:
        done, _ = ray.wait(list(closing), timeout=crew.CLOSING_S)
        if not done:
            log_closing([replica.name for replica, _ in closing.values()], time.monotonic() - began_s)
        for ref in done:
            replica, again = closing.pop(ref)
            try:
                ray.get(ref)
            except RayError as error:
                if again or _is_bug(error):
                    failures.append(f"{replica.name}: {_headline(error)}")
                    continue
                try:
                    _ready(replica)
                except StageFailed as failed:
                    failures.append(str(failed))
                else:
                    closing[replica.actor.close.remote()] = (replica, True)
    return failures


def _is_bug(error: RayError) -> bool:
    """Whether a stage raised, rather than the world failing under it or under what it waited for."""
    return isinstance(error, RayTaskError) and not isinstance(getattr(error, "cause", None), RayError)


def _headline(error: BaseException) -> str:
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException) and not isinstance(cause, RayError):
        return f"{type(cause).__name__}: {cause}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
