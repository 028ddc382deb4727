from __future__ import annotations

import pytest

from pipeline import machine as module
from pipeline.cli.options import settings_here
from pipeline.engine.flow import FlowOptions
from pipeline.machine import Machine
from tests.pipeline.cli.conftest import Medsecure

GIB = 1 << 30


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has 16 cores."""
    monkeypatch.setattr(module, "here", lambda gpus: Machine(16, 128 * GIB, 64 * GIB, gpus))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_a_machine_is_planned_for(medsecure: Medsecure) -> None:
    """Its numbers are given, each value has a reason."""
    words = ["--cores", "16", "--memory-gib", "128", "--gpus", "1"]
    document = medsecure("plan", *words, "--json").json
    assert document["machine"] == {
        "cores": 16, "memory_bytes": 128 * GIB, "shm_bytes": 64 * GIB, "gpus": 1
    }  # fmt: skip
    assert document["flow"]["window_rows"]["value"] == 4096
    assert all(one["why"] for one in document["flow"].values())
    assert "4,096" in medsecure("plan", *words).out


@pytest.mark.usefixtures("box")
def test_the_configuration_is_named_where_it_differs(
    medsecure: Medsecure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that it does not name are still the machine's, also within the table of replicas."""
    monkeypatch.setenv("MEDSECURE__FLOW__REPLICAS", '{"segment": 3}')
    flow = medsecure("plan", "--here", "--device", "cpu", "--json").json["flow"]
    assert flow["replicas"]["value"] == {"ingest": 2, "segment": 3, "deliver": 5}
    assert flow["replicas"]["why"].startswith("the configuration says so; the machine suggests")
    assert flow["window_rows"]["value"] == 2048


@pytest.mark.parametrize("words", [[], ["--cores", "4"], ["--here", "--cores", "4", "--memory-gib", "8"]])
def test_a_machine_must_be_named(medsecure: Medsecure, words: list[str]) -> None:
    """This one, or one by its numbers."""
    assert "give --here, or a machine by --cores and --memory-gib" in medsecure("plan", *words, expect=2).err


@pytest.mark.usefixtures("box")
def test_a_run_takes_what_the_machine_suggests() -> None:
    """Where nothing is named; what is named on the command line stands."""
    flow = settings_here(None, run={"device": "cpu"}).flow
    assert flow.replicas == {"ingest": 2, "segment": 7, "deliver": 5}
    assert settings_here(None, run={"device": "cpu"}, flow={"window_rows": 99}).flow.window_rows == 99


@pytest.mark.usefixtures("box")
def test_a_run_on_a_cluster_keeps_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machines are not this one."""
    assert settings_here(None, run={"device": "cpu", "address": "ray://head:10001"}).flow == FlowOptions()
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    assert settings_here(None, run={"device": "cpu"}).flow == FlowOptions()
    assert settings_here(None, run={"device": "cpu", "engine": "local"}).flow.window_rows == 2048
