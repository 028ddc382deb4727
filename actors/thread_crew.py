"""The local crew: every host is a thread of this process. It is the reference for what the Ray crew does.

There is no bad world in one process, so a flight is never lost here: what kills a thread kills the run.
"""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from actors import crew
from actors.crew import Flight, Landing, StageFailed, log_closing
from actors.host import Hop, Host

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Call = tuple["Future[Any]", range | None, tuple[Any, ...]]


class ThreadCrew:
    """Runs hops in threads, one thread a replica, joined by the futures of their outputs."""

    def __init__(self, legs: Mapping[str, Sequence[Hop]]) -> None:
        self._hops = {leg: [HopThreads(hop) for hop in hops] for leg, hops in legs.items()}
        self._airborne: dict[Future[Any], tuple[Flight, int]] = {}
        try:
            for threads in self._all():
                threads.opened()
        except BaseException:  # an interrupt as well: threads that are still opening must not be left behind
            with suppress(StageFailed):  # the first failure is the one to report
                self.close()
            raise

    def submit(self, leg: str, rows: range | None, loads: Sequence[Any]) -> Flight:
        """See ``Crew.submit``."""
        futures: list[Future[Any]] = []
        for threads in self._hops[leg]:
            futures.append(threads.submit(rows, tuple(loads)))
            rows, loads = None, [_Returned(futures[-1], 0)]
        flight = Flight(leg, len(futures), _Returned(futures[-1], 0), _Returned(futures[-1], 1))
        self._airborne.update({future: (flight, hop) for hop, future in enumerate(futures)})
        return flight

    def landed(self, timeout_s: float) -> list[Landing]:
        """See ``Crew.landed``."""
        done, _ = wait(self._airborne, timeout_s, FIRST_COMPLETED)
        landings = []
        for future in sorted(done, key=lambda one: self._airborne[one][1]):  # a failure before its echo
            flight, hop = self._airborne.pop(future)
            if (error := future.exception()) is not None:
                raise StageFailed(_verdict(self._hops[flight.leg][hop].name, error)) from error
            landings.append(Landing(flight, hop, future.result()[2]))
        return landings

    def close(self) -> None:
        """See ``Crew.close``."""
        failures = [failure for threads in self._all() for failure in threads.close()]
        if failures:
            raise StageFailed("; ".join(failures))

    def _all(self) -> list[HopThreads]:
        return [hop for hops in self._hops.values() for hop in hops]


class _Returned:
    """One of the three things a host returns, to be awaited where it is needed."""

    def __init__(self, future: Future[Any], item: int) -> None:
        self._future = future
        self._item = item

    def value(self) -> Any:
        return self._future.result()[self._item]


class HopThreads:
    """The threads of one hop and their common queue. The pump's window bounds it."""

    def __init__(self, hop: Hop) -> None:
        self.name = hop.name
        self._jobs: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._ready: list[Future[Any]] = [Future() for _ in range(hop.replicas)]
        self._closed: list[Future[Any]] = [Future() for _ in range(hop.replicas)]
        self._threads = [
            threading.Thread(target=self._work, args=(hop, *futures), name=hop.name, daemon=True)
            for futures in zip(self._ready, self._closed, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def opened(self) -> None:
        """Wait until every thread has opened its stages. Raises StageFailed."""
        for ready in self._ready:
            if (error := ready.exception()) is not None:
                raise StageFailed(_verdict(self.name, error)) from error

    def submit(self, rows: range | None, loads: tuple[Any, ...]) -> Future[Any]:
        """Queue one run of the host; the future holds what it returns."""
        future: Future[Any] = Future()
        self._jobs.put((future, rows, loads))
        return future

    def close(self) -> list[str]:
        """End the threads; what went wrong as they released their stages."""
        while not self._jobs.empty():
            with suppress(queue.Empty):  # a thread was faster
                if (job := self._jobs.get_nowait()) is not None:
                    job[0].cancel()
        for _ in self._threads:
            self._jobs.put(None)
        began_s = time.monotonic()
        while wait(self._closed, crew.CLOSING_S).not_done:
            log_closing([self.name], time.monotonic() - began_s)
        for thread in self._threads:
            thread.join()
        errors = [error for closed in self._closed if (error := closed.exception()) is not None]
        return [_verdict(self.name, error) for error in errors]

    def _work(self, hop: Hop, ready: Future[Any], closed: Future[Any]) -> None:
        host = _settle(ready, lambda: Host(hop))
        while host is not None and (job := self._jobs.get()) is not None:
            _settle(job[0], partial(_run, host, *job[1:]))
        _settle(closed, host.close if host is not None else lambda: None)


def _verdict(name: str, error: BaseException) -> str:
    return f"{name}: {type(error).__name__}: {error}"


def _run(host: Host, rows: range | None, loads: tuple[Any, ...]) -> Any:
    return host.run(rows, *map(_value, loads))


def _value(load: Any) -> Any:
    return load.value() if isinstance(load, _Returned) else load


def _settle(future: Future[Any], call: Callable[[], Any]) -> Any:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 (raised where the future is awaited)
        future.set_exception(error)
        return None
    future.set_result(result)
    return result
