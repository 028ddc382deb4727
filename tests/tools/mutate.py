"""Share of small faults that the tests notice, room by room: ``make mutate``.

A room is a package folder. Its mutants are drawn at random from a seed, one room after the other, until each
has its number or the time is over. Each is written into a copy of the tree, never into the tree itself. The
tests of the mutated module run first, then all that import it, then those of its room, then, where the
module has none of its own, those of modules that import it, then the slow ones of the room, and last, for
a few rooms, those that need Ray.

Why none of the libraries: mutmut forks a process that has run the whole suite before, which threads of torch
and Ray do not survive, and can draw no sample. cosmic-ray mutates annotations too, removes no statement (a
check, an fsync), and has one test command for all. mutatest ended before Python 3.11.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from rich.console import Console
from rich.table import Table

from tests.tools.judge import Judge, TestsFailError
from tests.tools.mutants import Mutant, mutants_of

GOAL = 0.9
VERDICTS = ("killed", "timeout", "survived", "untested", "equivalent")
NOTICED = ("killed", "timeout")
EQUIVALENT = Path("tests/tools/equivalent.toml")
IDENTITY = ("file", "where", "line", "before", "after")
REPORTS = Path(".mutation")


@dataclass
class Verdicts:
    """What became of the mutants of each room."""

    drawn: dict[str, int]  # how many were to be judged
    all: list[tuple[str, Mutant, str]] = field(default_factory=list)  # room, mutant, verdict

    def counts(self, room: str) -> Counter[str]:
        """How often each verdict was reached in a room."""
        return Counter(verdict for of, _, verdict in self.all if of == room)

    def score(self, room: str) -> float | None:
        """The share that the tests noticed, of those that change anything; None until all are judged."""
        counts = self.counts(room)
        if counts.total() < self.drawn[room]:
            return None
        changing = counts.total() - counts["equivalent"]
        return sum(counts[one] for one in NOTICED) / changing if changing else 1.0


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


def equivalents(root: Path) -> set[tuple[str, ...]]:
    """Mutants that a person found to change nothing, as the committed list names them."""
    if not (root / EQUIVALENT).exists():
        return set()
    listed = tomllib.loads((root / EQUIVALENT).read_text()).get("mutant", [])
    return {tuple(one[name] for name in IDENTITY) for one in listed if one["reason"]}


def identity(root: Path, mutant: Mutant) -> tuple[str, ...]:
    """What names a mutant as long as its line stays as it is."""
    line = (root / mutant.file).read_text().splitlines()[mutant.line - 1].strip()
    return mutant.file, mutant.where, line, mutant.before, mutant.after


def judge(
    root: Path,
    copy: Path,
    files: list[str],
    chosen: list[tuple[str, Mutant]],
    known: dict[tuple[str, Mutant], str],
    end_s: float,
) -> Verdicts:
    """Verdicts on the chosen mutants, as many as the time allows; those of an interrupted run too."""
    verdicts = Verdicts(dict(Counter(room for room, _ in chosen)))
    with suppress(KeyboardInterrupt):
        for name in files:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, copy / name)
        changeless = equivalents(root)
        judge_one = Judge(copy, files, end_s).verdict
        for room, mutant in chosen:
            same = identity(root, mutant) in changeless
            verdict = "equivalent" if same else known.get((room, mutant)) or judge_one(room, mutant)
            if verdict is None:
                break
            print(f"{verdict:10} {mutant}", flush=True)  # noqa: T201 (it takes minutes)
            verdicts.all.append((room, mutant, verdict))
    return verdicts


def report(root: Path, verdicts: Verdicts, seed: int) -> int:
    """Print and keep the verdicts; 1 where a room is below the goal, or is not judged to the end."""
    table = Table(title=f"mutants, seed {seed}")
    for name in ("room", *VERDICTS, "score"):
        table.add_column(name, overflow="fold")
    for room in sorted(verdicts.drawn):
        counts, score = verdicts.counts(room), verdicts.score(room)
        shown = "-" if score is None else f"{score:.0%}"
        table.add_row(room, *(str(counts[verdict]) for verdict in VERDICTS), shown)
    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print(table)
    for _, mutant, verdict in verdicts.all:
        if verdict in ("survived", "untested"):
            console.print(f"{verdict} {mutant}")
    scores = {room: verdicts.score(room) for room in sorted(verdicts.drawn)}
    for room, score in scores.items():
        if score is None:
            judged = f"{verdicts.counts(room).total()} of {verdicts.drawn[room]} mutants"
            console.print(f"{room}: {judged} were judged in the time: a larger SECONDS is needed")
        kept = [{"verdict": verdict, **asdict(one)} for of, one, verdict in verdicts.all if of == room]
        file = _report_of(root, room)
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"seed": seed, "mutants": kept}, indent=1, ensure_ascii=False))
    return int(any(score is None or score < GOAL for score in scores.values()))


def noticed_before(root: Path, rooms: Iterable[str], seed: int) -> dict[tuple[str, Mutant], str]:
    """Verdicts on the mutants that an earlier run with the seed saw noticed."""
    known = {}
    for room in rooms:
        file = _report_of(root, room)
        kept = json.loads(file.read_text()) if file.exists() else {"seed": None}
        for one in kept["mutants"] if kept["seed"] == seed else []:
            verdict = one.pop("verdict")
            if verdict in NOTICED:
                known[room, Mutant(**{**one, "span": tuple(one["span"])})] = verdict
    return known


def _report_of(root: Path, room: str) -> Path:
    return root / REPORTS / f"{room.replace('/', '.')}.json"


def record(root: Path, out: Path, verdicts: Verdicts, seed: int) -> None:
    """Replace the rows of the rooms that were judged to the end, and of no other, in a file of scores."""
    rows = json.loads(out.read_text()) if out.exists() else {}
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=root, capture_output=True, check=True, text=True).stdout.strip()
    for room, number in verdicts.drawn.items():
        score, counts = verdicts.score(room), verdicts.counts(room)
        if score is not None:
            rows[room] = {
                "score": round(score, 3),
                "mutants": number,
                **{verdict: counts[verdict] for verdict in VERDICTS},
                "seed": seed,
                "date": datetime.now(UTC).date().isoformat(),
                "commit": commit,
            }
    lines = (f"{json.dumps(room)}: {json.dumps(row)}" for room, row in sorted(rows.items()))
    out.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main() -> int:
    """Mutate the tree in the working directory."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--room", nargs="*", default=[], help="only these package folders, without those below"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20, help="mutants of each room")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--again", action="store_true", help="believe what the last run saw noticed")
    parser.add_argument("--out", type=Path, help="a file of scores, whose rows of these rooms are replaced")
    options = parser.parse_args()
    end_s = monotonic() + options.seconds
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the copy goes, the report stays
    root = Path.cwd()
    files = files_of(root)
    rooms = rooms_of(root, files)
    if strange := [room for room in options.room if room not in rooms]:
        parser.error(f"no room {' '.join(strange)}; there are {' '.join(sorted(rooms))}")
    wanted = {room: rooms[room] for room in options.room} or rooms
    chosen = drawn(root, wanted, options.count, options.seed)
    known = noticed_before(root, wanted, options.seed) if options.again else {}
    with TemporaryDirectory(prefix="mutate-") as copy:
        try:
            verdicts = judge(root, Path(copy), files, chosen, known, end_s)
        except TestsFailError as error:
            sys.exit(f"make mutate: {error}")
    if options.out:
        record(root, options.out, verdicts, options.seed)
    return report(root, verdicts, options.seed)


if __name__ == "__main__":
    sys.exit(main())
