"""Two processes share the tests (``make test``); properties repeat there and search in ``make fuzz``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

# Read when torch is imported, here and in what the tests start. Else threads of both processes wait for one
# another, spinning. Stages that are given a number of threads set it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Speed depends on the machine, so no property promises it. A test's own @settings override these one by one:
# its count of examples holds in both profiles, and `make fuzz` repeats the property until its time is over.
_COMMON = settings(
    settings.get_profile("default"),
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("repeatable", _COMMON, derandomize=True, database=None)
settings.register_profile(
    "fuzz",
    _COMMON,
    derandomize=False,
    database=DirectoryBasedExampleDatabase(Path(__file__).parents[1] / ".hypothesis" / "examples"),
)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a slow test first, those on the whole project before those on its parts.

    They take longest: left to the end, one process would wait for the other.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: len(item.path.parts) if item.path in slow else sys.maxsize)


@dataclass(frozen=True)
class SmallDisk:
    """A file system of its own that is soon full."""

    path: Path

    def fill_up(self, left: int = 0) -> None:
        """Leave no room but for so many bytes."""
        with suppress(OSError), (self.path / "ballast").open("ab", buffering=0) as ballast:
            while shutil.disk_usage(self.path).free > left:
                ballast.write(bytes(4096))

    def make_room(self) -> None:
        """Undo ``fill_up``."""
        (self.path / "ballast").unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """4 MB; only root can mount it."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(mount)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can only be mounted by root")
    yield SmallDisk(mount)
    subprocess.run(["umount", "--lazy", str(mount)], check=True)
