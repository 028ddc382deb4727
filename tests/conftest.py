"""Two processes share the tests (``make test``): long files first, and torch on one core in each."""

from __future__ import annotations

import os
import sys

import pytest

# Read when torch is imported, here and in what the tests start. Else threads of both processes wait for one
# another, spinning. Stages that are given a number of threads set it.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a slow test first, those on the whole project before those on its parts.

    They take longest: left to the end, one process would wait for the other.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: len(item.path.parts) if item.path in slow else sys.maxsize)
