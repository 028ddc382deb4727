from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.engine.graph import Graph, GraphError, Hops
from stages.batches import Located
from tests.pipeline.toys import Double, Log, Numbers, Read, graph


def names(hops: Hops) -> list[list[str]]:
    return [[hop.name for hop in leg] for leg in (hops.front, hops.back)]


def test_stages_without_a_plan_stay_alone(tmp_path: Path) -> None:
    """What the plan does not name is a hop of its own."""
    assert names(graph(tmp_path).hops((), {})) == [["read", "double"], ["log"]]


def test_neighbours_are_fused(tmp_path: Path) -> None:
    """A part of the plan is one hop, in stream order."""
    assert names(graph(tmp_path).hops(("read+double", "log"), {})) == [["read+double"], ["log"]]


def test_the_back_is_fused_like_the_front(tmp_path: Path) -> None:
    """Hops of the back follow the same plan."""
    long = graph(tmp_path, log=Log(tmp_path, name="seal")).then(Log(tmp_path))
    assert names(long.hops(("seal+log",), {})) == [["read", "double"], ["seal+log"]]


def test_a_fused_hop_has_the_largest_replica_number(tmp_path: Path) -> None:
    """The widest of the fused stages decides."""
    hops = graph(tmp_path).hops(("read+double",), {"read": 2, "double": 3})
    assert [hop.replicas for hop in hops.front] == [3]


def test_the_side_has_its_replicas(tmp_path: Path) -> None:
    """A number given for the stage beside the stream is not passed over."""
    (side,) = graph(tmp_path).hops((), {"deliver": 4}).side
    assert side.replicas == 4


def test_hops_carry_how_the_legs_meet(tmp_path: Path) -> None:
    """The front's last hop narrows, the back's first joins, only the stream's last reports its output."""
    hops = graph(tmp_path, log=Log(tmp_path, name="seal")).then(Log(tmp_path)).hops((), {})
    every = [*hops.front, *hops.back]
    assert [hop.narrow is not None for hop in every] == [False, True, False, False]
    assert [hop.join is not None for hop in every] == [False, False, True, False]
    assert [hop.last for hop in every] == [False, True, False, True]
    assert [hop.report for hop in every] == [False, False, False, True]


def test_legs_are_those_that_there_are(tmp_path: Path) -> None:
    """No back without a gather, no side without a stage beside the stream."""
    assert list(graph(tmp_path).hops((), {}).legs()) == ["front", "back", "side"]
    short = Graph.of(Read()).then(Double()).hops((), {})
    assert list(short.legs()) == ["front"]
    assert [hop.report for hop in short.front] == [False, True]


def test_a_graph_is_inert(tmp_path: Path) -> None:
    """Every call gives a new graph; the old one stays as it was."""
    first = Graph.of(Read())
    first.then(Double()).beside(Graph.of(Log(tmp_path)), join=Numbers.join)
    assert first == Graph.of(Read())


def sided(tmp_path: Path) -> Graph[Located, Numbers]:
    leg = Graph.of(Log(tmp_path, name="deliver")).then(Log(tmp_path, name="send"))
    return Graph.of(Read()).beside(leg, join=Numbers.join)


def test_a_side_leg_is_a_chain(tmp_path: Path) -> None:
    """Its first hop joins, its last reports keys, and the plan fuses it like any other leg."""
    apart = sided(tmp_path).hops((), {"send": 2}).side
    assert [(hop.name, hop.replicas) for hop in apart] == [("deliver", 1), ("send", 2)]
    assert [hop.join is not None for hop in apart] == [True, False]
    assert [hop.last for hop in apart] == [False, True]
    (fused,) = sided(tmp_path).hops(("deliver+send",), {}).side
    assert (fused.name, fused.last, fused.join is not None) == ("deliver+send", True, True)


def test_a_graph_does_not_forget_a_leg(tmp_path: Path) -> None:
    """A second side leg or gather, a late one and one with legs of its own are errors, not replacements."""
    plain = Graph.of(Log(tmp_path))
    gathered = Graph.of(Read()).gather(narrow=lambda batch: batch, join=Numbers.join)
    with pytest.raises(GraphError, match=r"has a side leg already \(deliver\+send\)"):
        sided(tmp_path).beside(plain, join=Numbers.join)
    with pytest.raises(GraphError, match="gathers already"):
        gathered.gather(narrow=lambda batch: batch, join=Numbers.join)
    with pytest.raises(GraphError, match="before gather"):
        gathered.beside(plain, join=Numbers.join)
    nested = Graph.of(Double()).beside(plain, join=Numbers.join)
    with pytest.raises(GraphError, match="plain chain"):
        Graph.of(Read()).beside(nested, join=Numbers.join)


def test_two_stages_of_one_name_are_refused(tmp_path: Path) -> None:
    """On one leg, on the side leg and behind the gather: a plan or a metric would not tell them apart."""
    with pytest.raises(GraphError, match="2 stages are named double: give each a name of its own"):
        Graph.of(Read()).then(Double()).then(Double())
    with pytest.raises(GraphError, match="2 stages are named log"):
        Graph.of(Read()).then(Log(tmp_path)).beside(Graph.of(Log(tmp_path)), join=Numbers.join)
    with pytest.raises(GraphError, match="2 stages are named double"):
        graph(tmp_path).then(Double())


@pytest.mark.parametrize(
    ("plan", "replicas", "message"),
    [
        (("read+dobule",), {}, "there is no stage 'dobule'; the stages are deliver, double, log, read"),
        ((), {"reed": 2}, "there is no stage 'reed'"),
        (("",), {}, "there is no stage ''"),
        (("double+read",), {}, r"double\+read cannot be one hop: the stages' order is read, double"),
        (("double+log",), {}, r"double\+log cannot be one hop"),
        (("double+deliver",), {}, r"double\+deliver cannot be one hop"),
        (("read+read",), {}, r"read\+read cannot be one hop"),
        (("read", "read+double"), {}, r"read\+double cannot be one hop"),
        ((), {"log": 2}, "log is a single writer"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(
    tmp_path: Path, plan: tuple[str, ...], replicas: dict[str, int], message: str
) -> None:
    """Unknown stages, stages that are no neighbours and a second writer are errors of one sentence."""
    with pytest.raises(GraphError, match=message):
        graph(tmp_path).hops(plan, replicas)


def test_a_writer_fused_with_a_replicated_stage_is_refused(tmp_path: Path) -> None:
    """Fusing is no way round the single writer."""
    long = graph(tmp_path, log=Log(tmp_path, name="seal")).then(Log(tmp_path))
    with pytest.raises(GraphError, match=r"seal\+log is a single writer"):
        long.hops(("seal+log",), {"seal": 2})
