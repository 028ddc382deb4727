"""Judges one mutant at a time: which tests run on it, in which order, and for how long.

Each run of the tests is a fork of this process, which has imported the large libraries that the tree uses and
nothing of the tree: starting Python and importing them would take several times as long as most tests.
"""

from __future__ import annotations

import ast
import importlib
import os
import select
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from time import monotonic
from typing import NoReturn

import pytest
from hypothesis import Phase, settings

from tests.tools.mutants import Mutant

QUICK = "not (gpu or cluster or slow or data)"
SLOW = "slow and not (gpu or cluster or data)"
ON_RAY = "cluster and not (gpu or data)"
# These rooms work on Ray, or through the command line only: tests of other rooms judge them, on Ray too.
WHOLE = {
    "actors": ("tests/pipeline/engine/test_pump.py",),
    "cluster": ("tests/pipeline/engine/test_pump.py",),
    "pipeline/run": ("tests/pipeline/cli/test_run.py",),
}
# None of them starts a thread when it is imported; ray and openvino do.
SHARED = ("hypothesis", "numpy", "scipy.stats", "torch", "pyarrow", "cv2", "PIL.Image", "pydicom", "pydantic")


class TestsFailError(Exception):
    """Tests fail without any mutant, so they judge none."""


class Judge:
    """Runs tests on mutants in a copy of the tree."""

    def __init__(self, copy: Path, files: Sequence[str], end_s: float) -> None:
        self._copy = copy
        self._end_s = end_s
        texts = {name: (copy / name).read_text() for name in files if name.endswith(".py")}
        self._imports = {name: _imported(text) for name, text in texts.items()}
        tests = [name for name in texts if name.startswith("tests/") and Path(name).match("test_*.py")]
        self._tests = {name: texts[name] for name in tests}
        self._ages = count(1)
        self.time_of = cache(self._time_of)
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # as tests/conftest.py has it: no thread before a fork
        used = set().union(*self._imports.values())
        for library in used.intersection(SHARED):
            with suppress(ImportError):
                importlib.import_module(library)

    def verdict(self, room: str, mutant: Mutant) -> str | None:
        """Killed, timeout, survived, or untested where no test runs; None where the time ends first."""
        path = self._copy / mutant.file
        source, since = path.read_bytes(), path.stat()
        verdict = "untested"
        for tests, marked, measured in self._turns(room, mutant.file):
            try:
                limit_s = 10 + 3 * self.time_of(measured, marked)
                path.write_bytes(mutant.applied(source))
                # Python believes bytecode by the age of its source: each fault has an age of its own.
                os.utime(path, (next(self._ages),) * 2)
                code = self._run(tests, marked, limit_s)
            except TimeoutError:
                return "timeout" if monotonic() < self._end_s else None
            finally:
                path.write_bytes(source)
                os.utime(path, ns=(since.st_atime_ns, since.st_mtime_ns))
            if code == pytest.ExitCode.OK:
                verdict = "survived"
            elif code != pytest.ExitCode.NO_TESTS_COLLECTED:
                return "killed"
        return verdict

    def tests_of(self, room: str, file: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Test files of the room, the module's own first, then those that import it; and others that do.

        Where the module has none of its own, the others are those of modules that import it, too.
        """
        folder = Path("tests") / room
        near: list[str] = []
        while not near and folder != Path("tests"):
            near = [name for name in self._tests if Path(name).parent == folder]
            folder = folder.parent
        module = file.removesuffix(".py").replace("/", ".")
        own = f"test_{Path(file).name}"
        near.sort(key=lambda name: (Path(name).name != own, module not in self._imports[name]))
        users = [Path(name) for name, imported in self._imports.items() if module in imported]
        far = {str(user) for user in users}
        if not any(Path(name).name == own for name in near):
            far |= {f"tests/{user.parent}/test_{user.name}" for user in users}
        return tuple(near), tuple(name for name in self._tests if name in far and name not in near)

    def _turns(self, room: str, file: str) -> list[tuple[tuple[str, ...], str, tuple[str, ...]]]:
        """Which tests run, marked how; and which of them are timed together."""
        near, far = self.tests_of(room, file)
        all_near = tuple(sorted(near))
        module = file.removesuffix(".py").replace("/", ".")
        beside = tuple(name for name in near[1:] if module in self._imports[name])
        users = tuple(name for name in far if module in self._imports[name])
        others = tuple(name for name in far if name not in users)
        slow = tuple(name for name in all_near if "mark.slow" in self._tests[name])
        whole = WHOLE.get(room, ())
        on_ray = tuple(name for name in (*all_near, *whole) if "mark.cluster" in self._tests[name])
        turns = [
            (near[:1], QUICK, near[:1]),
            (beside, QUICK, beside),
            (users, QUICK, users),
            (tuple(name for name in near[1:] if name not in beside), QUICK, all_near),
            (others, QUICK, others),
            (slow, SLOW, slow),
            (whole, QUICK, whole),
            (whole, SLOW, whole),
            (on_ray if whole else (), ON_RAY, on_ray),
        ]
        return [turn for turn in turns if turn[0]]

    def _time_of(self, tests: tuple[str, ...], marked: str) -> float:
        """Seconds that the tests take without a mutant; they have to pass."""
        began = monotonic()
        with suppress(TimeoutError):
            code = self._run(tests, marked, self._end_s - began)
            if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
                raise TestsFailError(f"these fail without a mutant: {' '.join(tests)}")
        return monotonic() - began

    def _run(self, tests: Sequence[str], marked: str, limit_s: float) -> int:
        """The exit code of pytest, in a process group that ends with it. Raises TimeoutError."""
        child = os.fork()
        if not child:
            _test(self._copy, tests, marked)
        with suppress(PermissionError):  # the child has done it
            os.setpgid(child, child)
        watch = os.pidfd_open(child)
        try:
            within_s = max(min(limit_s, self._end_s - monotonic()), 0)
            if not select.select([watch], [], [], within_s)[0]:
                raise TimeoutError
        finally:
            os.close(watch)
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)


def _test(copy: Path, tests: Sequence[str], marked: str) -> NoReturn:
    """Run the tests in this process, a fork, and end it."""
    code: int = pytest.ExitCode.INTERNAL_ERROR
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nothing, stream)
        os.chdir(copy)
        os.environ["PYTHONPATH"] = str(copy)  # before the installed tree, in what the tests start too
        sys.path.insert(0, str(copy))
        for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
            del sys.modules[name]
        # A mutant's first counterexample kills it: to look for the shortest would take minutes.
        found = settings(settings.get_profile("default"), phases=(Phase.explicit, Phase.generate))
        settings.register_profile("default", found)  # what tests/conftest.py begins with
        # Nobody reads what a failed assertion shows; without that pytest starts faster.
        words = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-m", marked, *tests]
        code = pytest.main(words)
    finally:
        os._exit(code)


def _imported(text: str) -> set[str]:
    """Modules that a file imports, and names that may be modules."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names
