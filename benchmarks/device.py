"""One prepared command for a machine with an accelerator and without network (docs/gpu.md).

    python3 -m benchmarks.device checks --pack .device/checks --out FOLDER
    python3 -m benchmarks.device train --pack .device/train --out FOLDER

Its first line says whether all that it needs is there; what is missing ends it at once with exit code 2. Each
step is a process of its own with a limit of its own, and ``device-MODE.json`` is written again after each:
what was measured is in it whenever the command is stopped. ``--toy`` rehearses everything on a CPU.

Standard library only: what it needs is not there yet when it starts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import device_needs as needs

SHARED: Final = Path("/dev/shm")  # noqa: S108  # memory: a disk's speed is not the question here
ROOM_BYTES: Final = 24 << 30  # for keys, study, results and Ray's object store
PATIENCE: Final = 5  # times the limits, for a rehearsal on cores that others use too
WORK: Final = "medsecure-device"
TAIL: Final = 4000  # characters of what a step printed that are kept
SPARE_S: Final = 3.0  # of the whole command's limit, for the last file


@dataclass(frozen=True)
class Step:
    """A function of ``device_steps`` or ``device_train`` as a process."""

    name: str
    limit_s: float
    about: str


STEPS: Final = {
    "checks": (
        Step("facts", 45, "the machine; phantoms and keys for the later steps"),
        Step("tests", 75, "the tests with the marker gpu"),
        Step(
            "lwe",
            60,
            "the integer product in both layouts, the method chosen, bytes, rates, each part's time",
        ),
        Step("segment", 60, "the model alone and the whole stage, a frame"),
        Step("together", 50, "encryption beside captures and replays: in one process, then in two"),
        Step("stream_ray", 70, "end to end on Ray, as the machine suggests"),
        Step("stream_small", 60, "the same with the defaults of two cores"),
        Step("stream_local", 60, "end to end on threads"),
    ),
    "train": (Step("train", 400, "all folds of both arms and a final model, side by side"),),
}


def main() -> None:
    """Look, unpack, run the steps; exit code 1 where a step failed, 2 where something is missing."""
    arguments = _arguments()
    lacking = needs.missing(arguments.mode, arguments.pack)
    if not arguments.out.is_dir():
        lacking.append(f"the folder {arguments.out}")
    if lacking:
        print(f"missing: {', '.join(lacking)}", flush=True)
        sys.exit(2)
    print(f"everything is there for {arguments.mode}", flush=True)
    deadline = time.monotonic() + arguments.limit
    arguments.work /= WORK
    environment = _environment(arguments.pack, arguments.work)
    report = {
        "benchmark": f"device-{arguments.mode}",
        "toy": arguments.toy,
        "python": platform.python_version(),
        "steps": {},
    }
    for step in STEPS[arguments.mode]:
        report["steps"][step.name] = _run(step, arguments, environment, deadline)
        _write(arguments.out / f"device-{arguments.mode}.json", report)
        print(f"{step.name}: {report['steps'][step.name]['verdict']}", flush=True)
    shutil.rmtree(arguments.work, ignore_errors=True)
    sys.exit(int(any(one["verdict"] != "done" for one in report["steps"].values())))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("mode", choices=needs.MODES)
    parser.add_argument(
        "--pack", type=Path, help="the folder that device_pack made; none uses what is installed"
    )
    parser.add_argument("--out", type=Path, required=True, help="an existing folder for the results")
    parser.add_argument(
        "--work", type=Path, default=_roomy(), help=f"holds {WORK}/ meanwhile: study, keys, indexes"
    )
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for a rehearsal")
    parser.add_argument("--limit", type=float, default=540, help="seconds for everything")
    parser.add_argument("--minutes", type=float, default=5.5, help="of training")
    parser.add_argument("--toy", action="store_true", help="sizes for a rehearsal")
    return parser.parse_args()


def _roomy() -> Path:
    """Memory where there is room, else the disk."""
    shared = SHARED.is_dir() and shutil.disk_usage(SHARED).free > ROOM_BYTES
    return SHARED if shared else Path(tempfile.gettempdir())


def _environment(pack: Path | None, work: Path) -> dict[str, str]:
    """Of the steps: with a pack, its packages before all others."""
    work.mkdir(parents=True, exist_ok=True)
    paths = [str(needs.ROOT)]
    if pack is not None:
        site = work / "site"
        with tarfile.open(pack / needs.ARCHIVE) as tar:
            tar.extractall(site, filter="data")
        paths.insert(0, str(site))
    inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths + inherited), "PYTHONUNBUFFERED": "1"}


def _run(
    step: Step, arguments: argparse.Namespace, environment: dict[str, str], deadline: float
) -> dict[str, Any]:
    """What the step found, or how it failed; never longer than its limit."""
    patience = PATIENCE if arguments.toy else 1
    limit = min(patience * step.limit_s, deadline - time.monotonic() - SPARE_S)
    if limit <= 0:
        return {"verdict": "no time", "seconds": 0.0, "about": step.about}
    answer = arguments.work / f"{step.name}.json"
    answer.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.device_steps", step.name, "--answer", str(answer)]
    command += ["--work", str(arguments.work), "--out", str(arguments.out), "--device", arguments.device]
    command += ["--minutes", str(arguments.minutes), *(["--toy"] if arguments.toy else [])]
    command += ["--pack", str(arguments.pack)] if arguments.pack else []
    log = arguments.work / f"{step.name}.log"
    began = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=needs.ROOT, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
        code = _wait(process, limit)
    verdict = {0: "done", None: "too long"}.get(code, f"failed with exit code {code}")
    found: dict[str, Any] = {
        "verdict": verdict,
        "seconds": round(time.monotonic() - began, 2),
        "about": step.about,
    }
    if answer.is_file():
        found["found"] = json.loads(answer.read_text())
    if verdict != "done":
        found["tail"] = log.read_text(errors="replace")[-TAIL:]
    return found


def _wait(process: subprocess.Popen[bytes], limit_s: float) -> int | None:
    """The exit code; None where the process and all it started were killed at the limit."""
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _write(path: Path, report: dict[str, Any]) -> None:
    """Whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(report, indent=2) + "\n")
    new.replace(path)


if __name__ == "__main__":
    main()
