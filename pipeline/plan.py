"""Defaults of the ``[flow]`` section for a machine: a pure function, and a reason for each of its choices.

The shares of work are those of one frame of 256² x 16 bit: milliseconds of one core of an AMD EPYC with
AVX-512, measured stage by stage. Only their proportions matter here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pipeline.engine.flow import FlowOptions

if TYPE_CHECKING:
    from pipeline.machine import Machine

WORK_MS: Final = {"ingest": 0.77 + 1.22, "segment": 8.2, "deliver": 5.76}  # ingest with preprocess
SEGMENT_BESIDE_GPU_MS: Final = 1.0  # what the CPU does for a frame that a GPU segments
KEPT_CORES: Final = 2  # of the driver, and of the process that encrypts and appends
PROCESS_BYTES: Final = 500_000_000  # of one worker, with the libraries it loads
DRIVER_BYTES: Final = 1_000_000_000  # of the driver and of Ray's own processes
ROWS_A_CORE: Final = 128  # in the window: at 2 cores the default of FlowOptions
STORE_SHARE: Final = 0.3  # of the memory, at most, as Ray's own default
LEAST_STORE: Final = 100_000_000  # the least that FlowOptions takes
DELIVERIES: Final = 4  # a process: while one is written, others wait with what they need


@dataclass(frozen=True, slots=True)
class Choice:
    """A value, and why it is that."""

    value: Any
    why: str


def plan(machine: Machine) -> dict[str, Choice]:
    """By key of ``[flow]``; every value is one that FlowOptions takes."""
    default = FlowOptions()
    waiting = 2 if machine.gpus else 1
    wanted_rows = min(max(ROWS_A_CORE * machine.cores * waiting, default.window_rows), 65_536)
    wanted_store = default.object_store_bytes * wanted_rows // default.window_rows
    store, bound = _store(machine, wanted_store)
    rows = max(wanted_rows * store // wanted_store, 1)
    replicas = _replicas(machine, store)
    beside = f" beside {machine.gpus} GPU(s)" if machine.gpus else ""
    return {
        "replicas": Choice(
            replicas,
            f"in proportion to their work on {machine.cores} cores{beside}, {KEPT_CORES} of them kept",
        ),
        "gpu_shares": Choice({}, _even(machine, replicas)),
        "window_rows": Choice(
            rows,
            f"{ROWS_A_CORE * waiting} a core" + ("" if store == wanted_store else ", less with the store"),
        ),
        "window_bytes": Choice(
            max(default.window_bytes * store // default.object_store_bytes, 1_000_000),
            "half of the object store",
        ),
        "object_store_bytes": Choice(store, bound),
        "deliveries": Choice(
            min(max(default.deliveries, DELIVERIES * replicas["deliver"]), 1024),
            f"{DELIVERIES} a delivering process, {default.deliveries} at least",
        ),
    }


def values(choices: dict[str, Choice]) -> dict[str, Any]:
    """Without the reasons, as a section of the configuration."""
    return {name: choice.value for name, choice in choices.items()}


def _store(machine: Machine, wanted: int) -> tuple[int, str]:
    """Bytes of the object store, and what they follow."""
    memory = int(STORE_SHARE * machine.memory_bytes)
    if wanted <= min(memory, machine.shm_bytes):
        return wanted, "for a full window"
    if LEAST_STORE <= machine.shm_bytes < memory:
        return machine.shm_bytes, "as much as /dev/shm holds"
    return max(min(memory, wanted), LEAST_STORE), f"{STORE_SHARE:.0%} of the memory at most"


def _even(machine: Machine, replicas: dict[str, int]) -> str:
    """What no name at all means for the shares of GPUs."""
    if not machine.gpus:
        return "there is no GPU"
    return f"even parts for {replicas['segment']} segmenting and one encrypting process"


def _replicas(machine: Machine, store: int) -> dict[str, int]:
    """Processes by stage: each further one goes where most work waits for a process.

    On several GPUs there is a process for each at least.
    """
    work = {**WORK_MS, "segment": SEGMENT_BESIDE_GPU_MS} if machine.gpus else WORK_MS
    found = {"ingest": 1, "segment": max(machine.gpus, 1), "deliver": 1}
    fit = (machine.memory_bytes - store - DRIVER_BYTES) // PROCESS_BYTES - 1  # one encrypts and appends
    for _ in range(min(machine.cores - KEPT_CORES, fit) - sum(found.values())):
        found[max(work, key=lambda stage: work[stage] / found[stage])] += 1
    return {stage: min(count, 1024) for stage, count in found.items()}
