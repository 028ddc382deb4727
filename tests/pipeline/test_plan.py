from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.flow import FlowOptions
from pipeline.machine import Machine
from pipeline.plan import DRIVER_BYTES, PROCESS_BYTES, plan, values

GIB = 1 << 30
LAPTOP = Machine(cores=2, memory_bytes=24 * GIB, shm_bytes=12 * GIB)
GPU_BOX = Machine(cores=16, memory_bytes=128 * GIB, shm_bytes=64 * GIB, gpus=1)
CONTAINER = Machine(cores=4, memory_bytes=2 * GIB, shm_bytes=64 << 20)
machines = st.builds(
    Machine,
    st.integers(1, 512),
    st.integers(1, 4096).map(lambda gib: gib * GIB),
    st.integers(0, 2048).map(lambda gib: gib * GIB),
    st.integers(0, 16),
)


def test_a_laptop_of_two_cores_has_the_defaults() -> None:
    """What was measured on two cores stays as it was."""
    default = FlowOptions()
    found = values(plan(LAPTOP))
    assert found.pop("replicas") == {"ingest": 1, "segment": 1, "deliver": 1}
    assert found == {name: getattr(default, name) for name in found}
    assert plan(LAPTOP)["gpu_shares"].why == "there is no GPU"


def test_a_gpu_box_is_fed_by_its_cores() -> None:
    """The GPU segments; most processes deliver, which is most of the work that is left."""
    found = values(plan(GPU_BOX))
    assert found["replicas"] == {"ingest": 3, "segment": 2, "deliver": 9}
    assert found["window_rows"] == 4096
    assert found["object_store_bytes"] == 16 * 10**9
    assert found["window_bytes"] == 8_192_000_000
    assert found["deliveries"] == 36
    assert plan(GPU_BOX)["gpu_shares"].why == "even parts for 2 segmenting and one encrypting process"


def test_without_the_gpu_most_processes_segment() -> None:
    """The same cores, other work."""
    found = values(plan(Machine(16, 128 * GIB, 64 * GIB)))
    assert found["replicas"] == {"ingest": 2, "segment": 7, "deliver": 5}
    assert found["window_rows"] == 2048


def test_a_small_container_keeps_to_its_memory() -> None:
    """Its window shrinks with its store; no process is added that would not fit."""
    choices = plan(CONTAINER)
    found = values(choices)
    assert found["replicas"] == {"ingest": 1, "segment": 1, "deliver": 1}
    assert found["object_store_bytes"] == int(0.3 * 2 * GIB)
    assert found["window_rows"] < 256
    assert choices["object_store_bytes"].why == "30% of the memory at most"


def test_shared_memory_bounds_the_store() -> None:
    """A store larger than /dev/shm would lie on a disk."""
    choices = plan(Machine(16, 128 * GIB, 2 * GIB, 1))
    assert choices["object_store_bytes"].value == 2 * GIB
    assert choices["object_store_bytes"].why == "as much as /dev/shm holds"


def test_every_gpu_has_a_process() -> None:
    """Four GPUs are not served by two."""
    assert values(plan(Machine(16, 128 * GIB, 64 * GIB, 4)))["replicas"]["segment"] == 4


@given(machines)
def test_any_plan_is_a_configuration_that_fits(machine: Machine) -> None:
    """Its values are in range, and processes beyond one of each fit the cores and the memory."""
    found = values(plan(machine))
    FlowOptions(**found)
    processes = sum(found["replicas"].values())
    least = 2 + max(machine.gpus, 1)
    assert processes <= max(machine.cores - 2, least)
    needed = (processes + 1) * PROCESS_BYTES + DRIVER_BYTES + found["object_store_bytes"]
    assert processes == least or needed <= machine.memory_bytes


@given(machines, st.integers(1, 64))
def test_more_cores_never_mean_fewer_processes(machine: Machine, more: int) -> None:
    """Where memory allows."""
    small = Machine(machine.cores, 10**15, 10**15, machine.gpus)
    large = Machine(machine.cores + more, 10**15, 10**15, machine.gpus)
    before, after = (values(plan(one))["replicas"] for one in (small, large))
    assert all(after[stage] >= before[stage] for stage in before)
