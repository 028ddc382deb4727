"""What this machine gives a run, within the limits of the container that it runs in."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

CGROUP: Final = Path("/sys/fs/cgroup")
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108  # where Ray's object store lies


@dataclass(frozen=True, slots=True)
class Machine:
    """Cores, bytes and GPUs that may be used; of shared memory, what is free."""

    cores: int
    memory_bytes: int
    shm_bytes: int
    gpus: int = 0


def here(gpus: int, cgroup: Path = CGROUP) -> Machine:
    """This machine; ``gpus`` are counted elsewhere, which takes torch."""
    cores, memory_bytes = len(os.sched_getaffinity(0)), psutil.virtual_memory().total
    quota, limit = _cores(cgroup), _memory(cgroup)
    return Machine(
        max(min(cores, int(quota)), 1) if quota is not None else cores,
        min(memory_bytes, limit) if limit is not None else memory_bytes,
        shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else 0,
        gpus,
    )


def _cores(cgroup: Path) -> float | None:
    """The quota of processor time in cores (cgroup v2, then v1); None without one."""
    quota, period = _numbers(cgroup / "cpu.max", 2)
    if quota is None:
        (quota,), (period,) = (
            _numbers(cgroup / "cpu" / f"cpu.cfs_{one}_us", 1) for one in ("quota", "period")
        )
    return quota / period if quota is not None and period and quota > 0 else None


def _memory(cgroup: Path) -> int | None:
    """The limit in bytes; None without one. Version 1 states none as a huge number."""
    (limit,) = _numbers(cgroup / "memory.max", 1)
    return limit if limit is not None else _numbers(cgroup / "memory" / "memory.limit_in_bytes", 1)[0]


def _numbers(path: Path, count: int) -> list[int | None]:
    """The file's numbers; None for ``max``, and for all where there is no file."""
    try:
        words = path.read_text().split()
    except OSError:
        return [None] * count
    return [int(word) if word.lstrip("-").isdigit() else None for word in words[:count]]
