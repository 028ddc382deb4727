"""Share of small faults that the tests notice, room by room: ``make mutate``.

A room is a package folder. Its mutants are drawn at random from a seed, one room after the other, until each
has its number or the time is over. Each is written into a copy of the tree, never into the tree itself. The
tests of the mutated module run first, then those of its room, then all others that import the module, and
last the slow ones of the room.

Why none of the libraries: mutmut forks a process that has run the whole suite before, which threads of torch
and Ray do not survive, and can draw no sample. cosmic-ray mutates annotations too, removes no statement (a
check, an fsync), and has one test command for all. mutatest ended before Python 3.11.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from rich.console import Console
from rich.table import Table

from tests.tools.mutants import Mutant, mutants_of

GOAL = 0.9
VERDICTS = ("killed", "timeout", "survived", "equivalent")
EQUIVALENT = Path("tests/tools/equivalent.toml")
REPORT = Path(".mutation/report.json")
QUICK = "not (gpu or cluster or slow or data)"
SLOW = "slow and not (gpu or cluster or data)"


class TestsFailError(Exception):
    """Tests fail without any mutant, so they judge none."""


@dataclass
class Verdicts:
    """What became of the mutants: killed, timeout, survived or equivalent."""

    all: list[tuple[str, Mutant, str]] = field(default_factory=list)  # room, mutant, verdict

    def counts(self, room: str) -> Counter[str]:
        """How often each verdict was reached in a room."""
        return Counter(verdict for of, _, verdict in self.all if of == room)

    def score(self, room: str) -> float | None:
        """The share that the tests noticed; None where none was run."""
        counts = self.counts(room)
        noticed = counts["killed"] + counts["timeout"]
        judged = noticed + counts["survived"]
        return noticed / judged if judged else None


def files_of(root: Path) -> list[str]:
    """What git tracks and what it would: the tree without what is built, downloaded or secret."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode()
    return sorted({name for name in listed.split("\0") if (root / name).is_file()})


def rooms_of(root: Path, files: Iterable[str]) -> dict[str, list[str]]:
    """The modules of each package folder below the root packages that the import contracts name."""
    with (root / "pyproject.toml").open("rb") as file:
        packages = set(tomllib.load(file)["tool"]["importlinter"]["root_packages"])
    rooms: dict[str, list[str]] = {}
    for name in files:
        path = Path(name)
        if path.suffix == ".py" and path.parts[0] in packages:
            rooms.setdefault(path.parent.as_posix(), []).append(name)
    return rooms


def drawn(root: Path, rooms: dict[str, list[str]], count: int, seed: int) -> list[tuple[str, Mutant]]:
    """Mutants of each room at random, in turns, so that an early end leaves every room its share."""
    rows = []
    for room, files in sorted(rooms.items()):
        mutants = [mutant for file in files for mutant in mutants_of(root, file)]
        # A seed of its own: a room's mutants stay the same beside any other room.
        chosen = random.Random(f"{seed} {room}").sample(mutants, min(count, len(mutants)))  # noqa: S311
        rows.append([(room, mutant) for mutant in chosen])
    return [one for turn in zip_longest(*rows) for one in turn if one]


def equivalents(root: Path) -> set[tuple[str, str, str, str]]:
    """Mutants that a person found to change nothing, as the committed list names them."""
    if not (root / EQUIVALENT).exists():
        return set()
    listed = tomllib.loads((root / EQUIVALENT).read_text()).get("mutant", [])
    return {(one["file"], one["where"], one["before"], one["after"]) for one in listed if one["reason"]}


class Judge:
    """Runs tests on mutants in a copy of the tree."""

    def __init__(self, copy: Path, files: Sequence[str], end_s: float) -> None:
        self._copy = copy
        self._end_s = end_s
        self._tests = [name for name in files if name.startswith("tests/") and Path(name).match("test_*.py")]
        self._imports = {name: _imported((copy / name).read_text()) for name in self._tests}
        self.time_of = cache(self._time_of)

    def verdict(self, room: str, mutant: Mutant) -> str | None:
        """Killed, timeout or survived; None where the time of the whole run ends first."""
        path = self._copy / mutant.file
        source = path.read_bytes()
        near, far = self.tests_of(room, mutant.file)
        room_tests = tuple(sorted(near))
        stages = [
            (near[:1], QUICK, near[:1]),
            (near[1:], QUICK, room_tests),
            (far, QUICK, far),
            (room_tests, SLOW, room_tests),
        ]
        for tests, marked, measured in stages:
            if not tests:
                continue
            try:
                limit_s = 10 + 3 * self.time_of(measured, marked)
                path.write_bytes(mutant.applied(source))
                passed = self._run(tests, marked, limit_s)
            except subprocess.TimeoutExpired:
                return "timeout" if monotonic() < self._end_s else None
            finally:
                path.write_bytes(source)
            if not passed:
                return "killed"
        return "survived"

    def tests_of(self, room: str, file: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Test files of the room, the module's own first; and those elsewhere that import the module."""
        folder = Path("tests") / room
        near: list[str] = []
        while not near and folder != Path():
            near = [name for name in self._tests if Path(name).parent == folder]
            folder = folder.parent
        near.sort(key=lambda name: Path(name).name != f"test_{Path(file).name}")
        module = file.removesuffix(".py").replace("/", ".")
        far = [name for name in self._tests if name not in near and module in self._imports[name]]
        return tuple(near), tuple(far)

    def _time_of(self, tests: tuple[str, ...], marked: str) -> float:
        """Seconds that the tests take without a mutant; they have to pass."""
        began = monotonic()
        if not self._run(tests, marked, self._end_s - began):
            raise TestsFailError(f"these fail without a mutant: {' '.join(tests)}")
        return monotonic() - began

    def _run(self, tests: Sequence[str], marked: str, limit_s: float) -> bool:
        """Whether the tests pass, in a process group that ends with them."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", marked, "-p", "no:cacheprovider", *tests]
        # The copy comes before the installed tree. No bytecode: a mutant's would outlive it.
        env = {**os.environ, "PYTHONPATH": str(self._copy), "PYTHONDONTWRITEBYTECODE": "1"}
        with subprocess.Popen(
            command,
            cwd=self._copy,
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        ) as process:
            try:
                code = process.wait(max(min(limit_s, self._end_s - monotonic()), 0))
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        return code in (0, 5)  # 5: all are deselected


def _imported(text: str) -> set[str]:
    """Modules that a file imports, and names that may be modules."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def judge(
    root: Path, copy: Path, files: list[str], chosen: list[tuple[str, Mutant]], end_s: float
) -> Verdicts:
    """Verdicts on the chosen mutants, as many as the time allows; those of an interrupted run too."""
    for name in files:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, copy / name)
    verdicts = Verdicts()
    known = equivalents(root)
    judge_one = Judge(copy, files, end_s).verdict
    with suppress(KeyboardInterrupt):
        for room, mutant in chosen:
            same = (mutant.file, mutant.where, mutant.before, mutant.after) in known
            verdict = "equivalent" if same else judge_one(room, mutant)
            if verdict is None:
                break
            verdicts.all.append((room, mutant, verdict))
    return verdicts


def report(root: Path, verdicts: Verdicts, rooms: Iterable[str], seed: int) -> int:
    """Print and keep the scores; 1 where a room is below the goal, or nothing was judged."""
    table = Table("room", *VERDICTS, "score", title=f"mutants, seed {seed}")
    for room in sorted(rooms):
        counts, score = verdicts.counts(room), verdicts.score(room)
        shown = "-" if score is None else f"{score:.0%}"
        table.add_row(room, *(str(counts[verdict]) for verdict in VERDICTS), shown)
    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print(table)
    for _, mutant, verdict in verdicts.all:
        if verdict == "survived":
            console.print(f"survived {mutant}")
    (root / REPORT).parent.mkdir(exist_ok=True)
    kept = [{"room": room, "verdict": verdict, **asdict(mutant)} for room, mutant, verdict in verdicts.all]
    (root / REPORT).write_text(json.dumps({"seed": seed, "mutants": kept}, indent=1, ensure_ascii=False))
    if not verdicts.all:
        console.print("no mutant was judged in the time: a larger SECONDS is needed")
    scores = [score for room in rooms if (score := verdicts.score(room)) is not None]
    return int(not scores or min(scores) < GOAL)


def main() -> int:
    """Mutate the tree in the working directory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--room", default="", help="only this package folder and those below")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20, help="mutants of each room")
    parser.add_argument("--seconds", type=float, default=600)
    options = parser.parse_args()
    end_s = monotonic() + options.seconds
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the copy goes, the report stays
    root = Path.cwd()
    files = files_of(root)
    rooms = rooms_of(root, files)
    wanted = {room: names for room, names in rooms.items() if Path(room).is_relative_to(options.room)}
    if not wanted:
        parser.error(f"no room {options.room}; there are {' '.join(sorted(rooms))}")
    chosen = drawn(root, wanted, options.count, options.seed)
    with TemporaryDirectory(prefix="mutate-") as copy:
        try:
            verdicts = judge(root, Path(copy), files, chosen, end_s)
        except TestsFailError as error:
            sys.exit(f"make mutate: {error}")
    return report(root, verdicts, wanted, options.seed)


if __name__ == "__main__":
    sys.exit(main())
