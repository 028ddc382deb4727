from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.graph import GraphError, Hops
from pipeline.engine.shares import UNITS, shared
from tests.pipeline.toys import graph

ON_GPU = ("double", "log")


def parts(hops: Hops) -> dict[str, float]:
    return {hop.name: hop.gpus for leg in hops.legs().values() for hop in leg}


def test_one_of_each_has_half_a_gpu(tmp_path: Path) -> None:
    """Hops on the CPU ask for nothing."""
    hops = shared(graph(tmp_path).hops((), {}), ON_GPU, {}, 1)
    assert parts(hops) == {"read": 0, "double": 0.5, "log": 0.5, "deliver": 0}


def test_more_replicas_have_smaller_parts(tmp_path: Path) -> None:
    """Two of one stage and one of another fit one GPU: with half a GPU each they would wait for ever."""
    hops = shared(graph(tmp_path).hops((), {"double": 2}), ON_GPU, {}, 1)
    assert parts(hops)["double"] == parts(hops)["log"] == 0.3333


def test_more_gpus_have_fewer_tenants(tmp_path: Path) -> None:
    """With a GPU for each replica each has one to itself."""
    hops = shared(graph(tmp_path).hops((), {"double": 2}), ON_GPU, {}, 3)
    assert parts(hops)["double"] == parts(hops)["log"] == 1


def test_a_part_that_is_named_is_kept_and_the_rest_is_shared(tmp_path: Path) -> None:
    """A fused hop takes what is named for any of its stages."""
    hops = shared(graph(tmp_path).hops(("read+double",), {}), ON_GPU, {"double": 0.75}, 1)
    assert parts(hops) == {"read+double": 0.75, "log": 0.25, "deliver": 0}


def test_a_part_of_a_stage_on_the_cpu_is_not_used(tmp_path: Path) -> None:
    """One configuration serves runs with and without a GPU."""
    hops = graph(tmp_path).hops((), {})
    assert shared(hops, (), {"double": 0.75}, 0) == hops


@pytest.mark.parametrize(
    ("named", "replicas", "message"),
    [
        ({"dobule": 0.5}, {}, "there is no stage 'dobule'; the stages are deliver, double, log, read"),
        ({"double": 1.0}, {}, r"leave no part of 1 GPU\(s\) for log"),
        ({"double": 0.6, "log": 0.6}, {}, r"do not fit 1 GPU\(s\): 1 x 0.6 for double, 1 x 0.6 for log"),
        ({"double": 0.4}, {"double": 3}, r"do not fit 1 GPU\(s\): 3 x 0.4 for double"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    tmp_path: Path, named: dict[str, float], replicas: dict[str, int], message: str
) -> None:
    """Before anything opens, in one sentence that names the hops."""
    with pytest.raises(GraphError, match=message):
        shared(graph(tmp_path).hops((), replicas), ON_GPU, named, 1)


def test_no_replica_is_on_two_gpus(tmp_path: Path) -> None:
    """Two GPUs with 0.4 left have no room for 0.5."""
    hops = graph(tmp_path).hops((), {"double": 2})
    with pytest.raises(GraphError, match="do not fit"):
        shared(hops, ON_GPU, {"double": 0.6, "log": 0.5}, 2)


@given(replicas=st.integers(1, 200), gpus=st.integers(1, 16))
def test_even_parts_fit_and_no_larger_ones_would(
    tmp_path_factory: pytest.TempPathFactory, replicas: int, gpus: int
) -> None:
    """Whatever the numbers, all replicas find a place, on as few tenants a GPU as can be."""
    hops = graph(tmp_path_factory.getbasetemp()).hops((), {"double": replicas})
    tenants = -(-(replicas + 1) // gpus)
    assert round(UNITS * parts(shared(hops, ON_GPU, {}, gpus))["double"]) == UNITS // tenants
