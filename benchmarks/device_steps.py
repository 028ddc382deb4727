"""The steps of the device benchmark, each started by ``device`` as a process: what it finds goes into a file.

A figure that is found is written at once, so that a step that is stopped at its limit leaves what it has.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

SHARED: Final = Path("/dev/shm")  # noqa: S108  # what Ray and this benchmark fill
ROOT: Final = Path(__file__).resolve().parents[1]
SERIES: Final = 40  # slices
FRAMES: Final = {False: 6400, True: 8}  # of the study, by whether it is a toy
FEW: Final = 1600  # of it, for what is expected to be slow
TESTS: Final = (
    "tests/stages/encrypt/lwe/test_gemm.py",
    "tests/stages/encrypt/lwe/test_scheme.py",
    "tests/stages/segment/test_graphs.py",
    "tests/stages/segment/test_runtime.py",
    "tests/training/test_gradients.py",
    "tests/training/test_train.py",
)
PLANNED: Final = ("replicas", "window_rows", "window_bytes", "object_store_bytes", "deliveries")
ELSEWHERE: Final = {
    "lwe": ("device_figures", "lwe"),
    "segment": ("device_figures", "segment"),
    "together": ("device_figures", "together"),
    "train": ("device_train", "step"),
}
PACKAGES: Final = ("torch", "numpy", "opencv-python-headless", "ray", "cryptography", "pydicom", "highdicom")


@dataclass
class Given:
    """What a step is asked, and where it writes what it finds."""

    answer: Path
    work: Path
    out: Path
    device: str
    minutes: float
    pack: Path | None
    toy: bool
    found: dict[str, Any] = field(default_factory=dict)

    def note(self, **figures: Any) -> None:
        """Keep these figures, now."""
        self.found |= figures
        new = self.answer.with_suffix(".new")
        new.write_text(json.dumps(self.found))
        new.replace(self.answer)


def main() -> None:
    """One step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step")
    for name in ("--answer", "--work", "--out", "--pack"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--device", required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--toy", action="store_true")
    asked = vars(parser.parse_args())
    step = asked.pop("step")
    steps(step)(Given(**asked))


def steps(name: str) -> Callable[[Given], None]:
    """The step of this name; what it needs is imported in its own process only."""
    here: dict[str, Callable[[Given], None]] = {
        "facts": facts,
        "tests": tests,
        "stream_ray": lambda given: stream(given, "ray", planned=True),
        "stream_small": lambda given: stream(given, "ray", planned=False),
        "stream_local": lambda given: stream(given, "local", planned=True),
    }
    if name in here:
        return here[name]
    module, function = ELSEWHERE[name]
    found: Callable[[Given], None] = getattr(import_module(f"benchmarks.{module}"), function)
    return found


def facts(given: Given) -> None:
    """The machine; then a study of phantoms, from as many processes as there are cores, and keys."""
    import psutil  # noqa: PLC0415
    import torch  # noqa: PLC0415

    from stages.encrypt.keys.folder import new_keys  # noqa: PLC0415

    if given.device == "cuda":
        kind = torch.cuda.get_device_properties(0)
        given.note(gpu=kind.name, gpu_gib=kind.total_memory / 2**30, capability=[kind.major, kind.minor])
        given.note(nvidia_smi=_said(["nvidia-smi", "-L"]), gpus_by_ray=_gpus_by_ray())
    given.note(
        cpu=platform.processor() or platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(psutil.virtual_memory().total / 2**30),
        shm_gib=round(shutil.disk_usage(SHARED).total / 2**30),
        versions={name: _version(name) for name in PACKAGES},
        cuda=torch.version.cuda,
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
    )
    shutil.rmtree(given.work / "study", ignore_errors=True)
    shutil.rmtree(given.work / "keys", ignore_errors=True)
    new_keys(given.work / "keys", None)
    length = min(SERIES, FRAMES[given.toy])
    series = [
        (str(given.work / "study" / ("few" if number < FEW // SERIES else "more")), number, length)
        for number in range(FRAMES[given.toy] // length)
    ]
    with get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        given.note(frames=sum(pool.starmap(_series, series)))


def tests(given: Given) -> None:
    """Exit code 5 says that no test was selected, which is a failure but for a rehearsal."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-W", "default", "-p", "no:cacheprovider"]
    # What compiles the network needs minutes and a C compiler.
    done = subprocess.run(
        [*command, "-k", "not True", *TESTS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    given.note(exit_code=done.returncode, tail=done.stdout[-3000:] + done.stderr[-1000:])
    if done.returncode:
        sys.exit(done.returncode)


def stream(given: Given, engine: str, *, planned: bool) -> None:
    """The product's own command over the study, with what the machine suggests or two cores' defaults."""
    from benchmarks.throughput import stream as run  # noqa: PLC0415
    from pipeline.engine.flow import FlowOptions  # noqa: PLC0415

    work = given.work / f"{engine}-{planned}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    os.environ["MEDSECURE__SEGMENT__RUNTIME"] = "torch"  # a rehearsal on a CPU has no OpenVINO in its pack
    small = asdict(FlowOptions(replicas=dict.fromkeys(("ingest", "segment", "deliver"), 1)))
    flow = {} if planned else {name: json.dumps(small[name]) for name in PLANNED}
    study = given.work / "study" if planned and engine == "ray" else given.work / "study" / "few"
    summary = run(engine, study, given.work / "keys", work, given.device, flow)
    given.note(flow=flow, **summary)


def _series(folder: str, number: int, length: int) -> int:
    from evaluation.phantom import Phantom, write_series  # noqa: PLC0415

    return len(write_series(Path(folder) / f"{number:06d}", Phantom(seed=number), length, str(number)))


def _gpus_by_ray() -> int:
    """How many Ray finds by itself, which takes NVML."""
    from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager  # noqa: PLC0415

    return int(NvidiaGPUAcceleratorManager.get_current_node_num_accelerators())


def _said(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
