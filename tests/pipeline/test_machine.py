from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from pipeline.machine import here


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + "\n")
    return folder


V1 = {
    "cpu/cpu.cfs_quota_us": "300000",
    "cpu/cpu.cfs_period_us": "100000",
    "memory/memory.limit_in_bytes": "1000000000",
}


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "6400000 100000"}, 8),
        (V1, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    ],
)
def test_cores_are_those_of_the_container(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    """The quota of either version of cgroups, never more than there are, and one at least."""
    assert here(0, written(tmp_path, files)).cores == cores


@pytest.mark.parametrize(
    ("files", "limit"),
    [({"memory.max": "1000000000"}, 10**9), (V1, 10**9), ({"memory.max": "max"}, None), ({}, None)],
)
def test_memory_is_that_of_the_container(tmp_path: Path, files: dict[str, str], limit: int | None) -> None:
    """Without a limit all that the machine has."""
    assert here(0, written(tmp_path, files)).memory_bytes == (limit or psutil.virtual_memory().total)


def test_gpus_are_counted_elsewhere() -> None:
    """This module needs no torch."""
    assert here(3).gpus == 3
