"""Every system call of an append fails, or is the writer's last: strace injects the fault.

Run as a program, this module is the writer's nursery: per line of its input it forks a process that opens
the index, stops, and appends once it is continued. The pool runs in the caller's thread and nothing is
published but on demand, so that calls come in the same order every time.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.batches import Rows, Sealed
from stages.index import publish, session
from stages.index.check.verify import verify
from stages.index.options import IndexOptions
from stages.index.reader import open_reader
from stages.index.session import open_writer

ROOT = Path(__file__).resolve().parents[3]
CALLS = ("openat", "pwrite64", "fdatasync", "fsync", "rename", "mkdir", "ftruncate", "unlink", "close")
FAULTS = ("error=EIO", "error=ENOSPC", "signal=SIGKILL")
OPTIONS = IndexOptions(segment_bytes=1 << 13)  # the append under test begins a segment
BEFORE, ADDED = 250, 10  # and fills a tile
PARTS = 7  # of all cases
SAMPLE = slice(0, None, 28)  # for those who leave out what is slow


def block(seed: int, rows: int) -> Sealed:
    keys = tuple(bytes([seed]) * 16 + row.to_bytes(16, "big") for row in range(rows))
    columns_ND = np.full((rows, 4), seed, np.uint32)
    return Sealed(Rows(keys, keys, keys, keys), b"header", np.full((4, 8), seed, np.uint32), columns_ND)


class Inline(Executor):
    """Runs what it is given at once, in the caller's thread."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - the future's
            future.set_exception(error)
        return future


def one_append(path: Path) -> None:
    """Open, stop until continued, append, say so, publish."""
    acknowledged = os.open(path.with_suffix(".acknowledged"), os.O_CREAT | os.O_WRONLY)
    with open_writer(path, OPTIONS) as writer:
        os.kill(os.getpid(), signal.SIGSTOP)
        writer.append(block(9, ADDED))
        os.write(acknowledged, b"yes")
        writer.publish()


def nursery() -> None:
    """Fork a writer per line; say its pid."""
    session.ThreadPoolExecutor = lambda _: Inline()  # type: ignore[misc, assignment]
    publish.PUBLISH_S = 3600  # type: ignore[misc]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            try:
                one_append(Path(line.strip()))
            finally:
                os._exit(0)
        print(pid, flush=True)  # noqa: T201 - the protocol


def stopped(pid: int) -> bool:
    return ") T " in Path(f"/proc/{pid}/stat").read_text()


class Tracer:
    """Runs writers under strace."""

    def __init__(self, nursery_process: subprocess.Popen[str]) -> None:
        self._nursery = nursery_process

    def run(self, path: Path, *options: str) -> tuple[bool, str]:
        """Whether the append was acknowledged, and what strace saw."""
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(f"{path}\n")
        self._nursery.stdin.flush()
        pid = int(self._nursery.stdout.readline())
        while not stopped(pid):
            time.sleep(0.002)
        log = path.with_suffix(".strace")
        command = ["strace", "-p", str(pid), "-o", str(log), "-e", f"trace={','.join(CALLS)}", *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
            assert strace.stderr is not None
            assert "attached" in strace.stderr.readline()
            os.kill(pid, signal.SIGCONT)
            strace.wait(60)
        return bool(path.with_suffix(".acknowledged").read_bytes()), log.read_text()


@pytest.fixture(scope="module")
def tracer() -> Iterator[Tracer]:
    """Skips where there is no strace, or none may trace."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not here; tests/install-strace.sh installs it on Debian")
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"ptrace is refused: {tried.stderr.strip()}")
    with subprocess.Popen(
        [sys.executable, __file__],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # the errors that are injected
        text=True,
    ) as process:
        yield Tracer(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "base"
    with open_writer(path, OPTIONS) as writer:
        writer.append(block(1, BEFORE))
    return path


def check(path: Path, *, acknowledged: bool) -> None:
    """What is published is whole; what was acknowledged is there; the log goes on."""
    assert verify(path).errors == ()
    with open_writer(path, OPTIONS) as writer:
        found = open_reader(path).records
        assert found in ({BEFORE + ADDED} if acknowledged else {BEFORE, BEFORE + ADDED})
        writer.append(block(9, ADDED))
        writer.append(block(10, 300))
    assert verify(path).errors == ()
    assert open_reader(path).records == BEFORE + ADDED + 300


Case = tuple[str, int, str]  # a call, which of its calls, and what happens to it


@pytest.fixture(scope="module")
def cases(tracer: Tracer, base: Path) -> list[Case]:
    """Every call that an append makes, with every fault that may meet it."""
    path = shutil.copytree(base, base.with_name("whole"))
    acknowledged, log = tracer.run(path)
    assert acknowledged
    check(path, acknowledged=True)
    seen = Counter(re.findall(r"^(\w+)\(", log, re.MULTILINE))
    assert seen["fdatasync"] > 5
    assert seen["rename"] > 5
    return [
        (call, number, fault)
        for call in CALLS
        for number in range(1, seen[call] + 1)
        for fault in FAULTS
        if fault != "error=ENOSPC" or call in ("openat", "pwrite64", "fdatasync", "mkdir")
    ]


@pytest.mark.parametrize(
    "part",
    [
        SAMPLE,
        *(pytest.param(slice(n, None, PARTS), marks=pytest.mark.slow) for n in range(PARTS)),
    ],
    ids=str,
)
@pytest.mark.usefixtures("fast_disk")
def test_a_fault_at_any_system_call_loses_nothing(
    tracer: Tracer, base: Path, cases: list[Case], tmp_path: Path, part: slice
) -> None:
    """Whichever call it is, reopening yields a valid prefix with everything that was acknowledged."""
    met: Counter[str] = Counter()
    for place, (call, number, fault) in list(enumerate(cases))[part]:
        path = shutil.copytree(base, tmp_path / str(place))
        acknowledged, log = tracer.run(path, "-e", f"inject={call}:{fault}:when={number}")
        met[fault] += "INJECTED" in log or "killed by SIGKILL" in log
        check(path, acknowledged=acknowledged)
        shutil.rmtree(path)
    assert met.total() == len(cases[part])
    assert set(met) == set(FAULTS)


if __name__ == "__main__":
    nursery()
