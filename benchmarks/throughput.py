"""End to end: DICOM files on disk to durable index, on Ray and on threads of one process, same run.

    python -m benchmarks.throughput [--frames 2000] [--device cpu] [--replicas STAGE=N ...] [--json]

Both engines get the same generated 256² 16-bit slices and the same keys, each its own empty index.
Frames per second count from the moment all stages are open; the wall clock, with start-up, is told too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.report import at_least, at_most, emit
from evaluation.phantom import Phantom, write_series
from stages.encrypt.keys.folder import new_keys

_SERIES = 40  # slices
_ROOT = Path(__file__).resolve().parent.parent


class HighWater:
    """Proportional memory (PSS) of a process and all it started, sampled; bytes."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._root = psutil.Process(pid)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while self._root.is_running():
            total = 0
            try:
                for process in (self._root, *self._root.children(recursive=True)):
                    total += process.memory_full_info().pss
            except psutil.Error:
                continue
            self.bytes = max(self.bytes, total)
            time.sleep(1)


def stream(
    engine: str, study: Path, keys: Path, work: Path, device: str, flow: dict[str, str]
) -> dict[str, Any]:
    """One run of the product's own command; its summary, with wall time and memory.

    ``flow`` is keys of that section of the configuration, and their values as JSON.
    """
    command = [sys.executable, "run_pipeline.py", "--engine", engine, "--device", device, "--json"]
    environment = {**os.environ, **{f"MEDSECURE__FLOW__{key.upper()}": value for key, value in flow.items()}}
    folders = ["--index", work / f"index-{engine}", "--results", work / f"results-{engine}"]
    began = time.monotonic()
    process = subprocess.Popen(
        [*command, "--source", study, "--keys", keys, *folders],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        env=environment,
    )
    memory = HighWater(process.pid)
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(f"the {engine} run failed with exit code {process.returncode}")
    return {**json.loads(output), "wall_seconds": time.monotonic() - began, "memory_bytes": memory.bytes}


def main() -> None:
    """Generate, run both engines, print."""
    arguments = _arguments()
    replicas = {stage: int(count) for stage, count in (one.split("=") for one in arguments.replicas)}
    flow = {"replicas": json.dumps(replicas)} if replicas else {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        new_keys(work / "keys", None)
        for number in range(0, arguments.frames, _SERIES):
            count = min(_SERIES, arguments.frames - number)
            write_series(work / "study" / f"{number:06d}", Phantom(seed=number), count, str(number))
        runs = {
            engine: stream(engine, work / "study", work / "keys", work, arguments.device, flow)
            for engine in ("ray", "local")
        }
    ray, local = runs["ray"], runs["local"]
    busy = sum(stage["seconds"] for stage in ray["stages"].values())
    results = {
        "frames": ray["frames"],
        "device": arguments.device,
        "replicas": replicas,
        "ray": _figures(ray),
        "threads": _figures(local),
        "ray_to_threads": ray["frames_per_second"] / local["frames_per_second"],
        "stage_share": {name: stage["seconds"] / busy for name, stage in ray["stages"].items()},
        "stage_ms_per_frame": {
            name: 1000 * stage["seconds"] / max(stage["frames"], 1) for name, stage in ray["stages"].items()
        },
    }
    goals = [
        at_least("frames per second end to end", ray["frames_per_second"], "frames/s", 58),
        at_least("Ray to threads of one process", results["ray_to_threads"], "ratio", 0.8),
        at_most("memory high-water of all processes", ray["memory_bytes"] / 2**30, "GiB", 6),
    ]
    packages = ("ray", "torch", "openvino", "numpy", "pydicom", "highdicom", "pyarrow")
    emit("throughput", results, goals, packages, as_json=arguments.json)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu")
    parser.add_argument("--replicas", nargs="*", default=[], metavar="STAGE=N", help="as flow.replicas")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _figures(run: dict[str, Any]) -> dict[str, float]:
    names = ("frames_per_second", "seconds", "wall_seconds", "memory_bytes", "indexed")
    return {name: run[name] for name in names}


if __name__ == "__main__":
    main()
