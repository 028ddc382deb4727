"""What every benchmark prints: hardware, versions, results, and goals with what was reached."""

from __future__ import annotations

import json
import platform
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Goal:
    """A figure beside the one that was aimed for."""

    name: str
    value: float
    unit: str
    goal: float
    ok: bool


def at_least(name: str, value: float, unit: str, goal: float) -> Goal:
    """A goal that is met from below."""
    return Goal(name, value, unit, goal, value >= goal)


def at_most(name: str, value: float, unit: str, goal: float) -> Goal:
    """A goal that is met from above."""
    return Goal(name, value, unit, goal, value <= goal)


def hardware() -> dict[str, Any]:
    """The machine, in words that travel with the figures."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "cpu": model,
        "cores": len(psutil.Process().cpu_affinity() or []),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
    }


def seconds(work: Callable[[], object], *, least: float = 0.5, repeats: int = 5) -> float:
    """Median wall time of a call, after one to warm up: at least ``repeats`` calls and ``least`` seconds."""
    work()
    took: list[float] = []
    while len(took) < repeats or sum(took) < least:
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return median(took)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of the same names as a Markdown table; figures to four digits."""
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[f"{one:.4g}" if isinstance(one, float) else str(one) for one in row.values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def emit(
    name: str,
    results: Any,
    goals: list[Goal],
    packages: tuple[str, ...],
    *,
    as_json: bool,
    text: str | None = None,
) -> None:
    """Print the one JSON document, or its figures as lines: ``text`` where it is given."""
    document = {
        "benchmark": name,
        "hardware": hardware(),
        "versions": {package: _version(package) for package in packages},
        "results": results,
        "goals": [asdict(goal) for goal in goals],
    }
    if as_json:
        json.dump(document, sys.stdout, indent=2)
        print()
        return
    print(json.dumps(results, indent=2) if text is None else text)
    for goal in goals:
        verdict = "met" if goal.ok else "NOT MET"
        print(f"{goal.name}: {goal.value:.4g} {goal.unit} (goal {goal.goal:g}, {verdict})")


def _version(package: str) -> str | None:
    """None where the package is not installed: an optional peer."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
