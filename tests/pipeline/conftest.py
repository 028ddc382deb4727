"""Every engine test runs on both crews."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import pytest

from actors.crew import Crew, manned
from actors.ray_crew import RayCrew
from actors.thread_crew import ThreadCrew
from cluster.session import session
from pipeline.engine.accounting import Finished, Rejected
from pipeline.engine.flow import FlowOptions
from pipeline.engine.graph import Graph
from pipeline.engine.pump import Event, Measured, Pump
from stages.batches import Copied, Located, Refused


@dataclass
class Outcome:
    """What a run told, sorted."""

    finished: list[Finished] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    copied: list[Copied] = field(default_factory=list)

    def note(self, event: Event) -> None:
        match event:
            case Finished():
                self.finished.append(event)
            case Rejected():
                self.rejected.append(event)
            case Measured():
                self.measured.append(event)
            case Refused():
                self.refused.append(event)
            case Copied():
                self.copied.append(event)

    @property
    def kept(self) -> int:
        return sum(unit.kept for unit in self.finished)

    @property
    def finished_keys(self) -> Counter[bytes]:
        return Counter(key for unit in self.finished for part in unit.pieces for key in part.keys)


Execute = Callable[..., Outcome]


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    with session(None, 200_000_000):
        yield


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.cluster)])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "ray":
        request.getfixturevalue("ray_session")
    return str(request.param)


@pytest.fixture
def execute(engine: str) -> Execute:
    def run(
        graph: Graph[Located, object],
        source: Iterable[Located | Refused | Copied],
        flow: FlowOptions = FlowOptions(hops=()),
        on_event: Callable[[Event, Crew], None] = lambda _event, _crew: None,
    ) -> Outcome:
        hops = graph.hops(flow.hops, flow.replicas)
        crew: Crew = RayCrew(hops.legs()) if engine == "ray" else ThreadCrew(hops.legs())
        outcome = Outcome()
        with manned(crew):
            for event in Pump(hops, crew, flow).run(iter(source)):
                outcome.note(event)
                on_event(event, crew)
        return outcome

    return run
