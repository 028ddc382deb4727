"""What ``make mutate`` finds in a toy package, what it leaves behind, and the list of equivalent mutants."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.tools.mutants import Mutant, mutants_of
from tests.tools.mutate import EQUIVALENT, GOAL, IDENTITY, REPORTS, drawn, files_of, identity, rooms_of

ROOT = Path(__file__).parents[2]
SCORES = ROOT / "tests/tools/mutation-score.json"
CORE = {"actors", "api", "cluster", "pipeline", "stages"}
UNSCORED: set[str] = {  # that nobody has judged to the end yet: a score takes its room from this list
    "actors",
    "cluster",
    "pipeline/cli",
    "stages/segment",
}

TESTED = """
def larger(a: int, b: int) -> int:
    if a < b:
        return b
    return a
"""
UNTESTED = """
def total(values: list[int]) -> int:
    result = 0
    for value in values:
        result += value
    return result
"""
USED_ELSEWHERE = """
def double(a: int) -> int:
    return a * 2
"""
TEST_TESTED = """
import pytest
from toy.tested.code import larger

@pytest.mark.slow
def test_larger():
    assert [larger(1, 2), larger(2, 1), larger(0, 0)] == [2, 2, 0]
"""
UNTOUCHED = """
from pathlib import Path

def test_the_tree_itself_holds_no_mutant():
    assert "result += value" in Path("{tree}/toy/untested/code.py").read_text()
    assert Path("{tree}/toy/untested/code.py").read_text().count("result") == 3
"""
TEST_ELSEWHERE = """
import pytest
from toy.used.code import double

@pytest.mark.slow
def test_slowly():
    raise AssertionError

def test_double():
    assert [double(3), double(0)] == [6, 0]
"""
EQUIVALENT_HERE = """
[[mutant]]
file = "toy/tested/code.py"
where = "larger"
line = "if a < b:"
before = "a < b"
after = "(a <= b)"
reason = "equal numbers give the same answer"
"""
TEST_TOTAL = """
from toy.untested.code import total

def test_total():
    assert total([1, 2]) == 3
"""
SLOW = """
from time import sleep
from toy.tested.code import larger

def test_sleeps():
    sleep(60)
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A project with a tested room, an untested one and one that only another room tests."""
    contents = {
        "pyproject.toml": '[tool.importlinter]\nroot_packages = ["toy"]\n',
        "toy/tested/code.py": TESTED,
        "toy/untested/code.py": UNTESTED,
        "toy/used/code.py": USED_ELSEWHERE,
        "tests/toy/tested/test_code.py": TEST_TESTED,
        "tests/toy/untested/test_code.py": UNTOUCHED.format(tree=tmp_path),
        "tests/toy/used/test_code.py": "def test_nothing():\n    pass\n",
        "tests/other/test_other.py": TEST_ELSEWHERE,
        str(EQUIVALENT): EQUIVALENT_HERE,
        ".gitignore": ".mutation/\n__pycache__/\n",
    }
    for name, text in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    markers = "".join(f'  "{name}: x",\n' for name in ("gpu", "cluster", "slow", "data"))
    with (tmp_path / "pyproject.toml").open("a") as file:
        file.write(
            f'[tool.pytest.ini_options]\naddopts = "--import-mode=importlib"\nmarkers = [\n{markers}]\n'
        )
    who = ["-c", "user.name=Toy", "-c", "user.email=toy@example.com"]
    for words in (["init", "--quiet"], ["add", "--all"], [*who, "commit", "--quiet", "-m", "Make a toy"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def start(toy: Path, *words: str) -> subprocess.Popen[str]:
    (toy / "temporary").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.tools.mutate", *words],
        cwd=toy,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(toy / "temporary")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def verdicts_of(toy: Path, room: str) -> list[str]:
    kept = json.loads((toy / REPORTS / f"{room.replace('/', '.')}.json").read_text())
    return sorted(one["verdict"] for one in kept["mutants"])


def state_of(toy: Path) -> dict[str, bytes]:
    return {name: (toy / name).read_bytes() for name in files_of(toy)}


@pytest.mark.slow
def test_mutants_of_tested_code_are_killed_and_those_of_untested_code_survive(toy: Path) -> None:
    """A room whose tests notice nothing fails the run; a test of another room may notice instead."""
    before = state_of(toy)
    process = start(toy, "--count", "2", "--seconds", "300")
    out, err = process.communicate()
    assert process.returncode == 1, err
    assert set(verdicts_of(toy, "toy/tested")) <= {"killed", "equivalent"}
    assert verdicts_of(toy, "toy/used") == ["killed", "killed"]
    assert verdicts_of(toy, "toy/untested") == ["survived", "survived"]
    assert "survived toy/untested/code.py:" in out
    assert state_of(toy) == before


@pytest.mark.slow
def test_known_equivalents_are_left_out_and_a_room_of_killed_mutants_passes(toy: Path) -> None:
    """Larger or equal changes nothing in a maximum; without that one, every mutant of the room is noticed."""
    process = start(toy, "--room", "toy/tested", "--seconds", "300")
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert verdicts_of(toy, "toy/tested") == ["equivalent", "killed", "killed"]


@pytest.mark.slow
def test_a_room_without_a_test_fails_and_is_named(toy: Path) -> None:
    """Code that no test runs on has not passed."""
    (toy / "tests" / "other" / "test_other.py").unlink()
    (toy / "tests" / "toy" / "used" / "test_code.py").unlink()
    process = start(toy, "--room", "toy/used", "--seconds", "300")
    out, err = process.communicate()
    assert process.returncode == 1, err
    assert set(verdicts_of(toy, "toy/used")) == {"untested"}
    assert "untested toy/used/code.py:" in out


@pytest.mark.slow
def test_a_room_that_was_not_judged_to_the_end_fails_and_is_named(toy: Path) -> None:
    """An early end is no success, and its score is not kept."""
    (toy / "tests" / "toy" / "tested" / "test_code.py").write_text(SLOW)
    process = start(toy, "--room", "toy/used", "toy/tested", "--seconds", "5", "--out", "scores.json")
    out, err = process.communicate()
    assert process.returncode == 1, err
    assert "toy/tested: 0 of 3 mutants were judged in the time" in out
    assert "toy/tested" not in json.loads((toy / "scores.json").read_text())


@pytest.mark.slow
def test_a_second_run_judges_what_survived_and_replaces_the_score_of_its_room(toy: Path) -> None:
    """A test that is added counts without the work of judging all the others again."""
    others = {"toy/tested": {"score": 0.95}}
    (toy / "scores.json").write_text(json.dumps(others))
    first = start(toy, "--room", "toy/untested", "--seconds", "300", "--out", "scores.json")
    first.communicate()
    assert json.loads((toy / "scores.json").read_text())["toy/untested"]["score"] == 0
    (toy / "tests" / "toy" / "untested" / "test_total.py").write_text(TEST_TOTAL)
    again = start(toy, "--room", "toy/untested", "--seconds", "300", "--out", "scores.json", "--again")
    _, err = again.communicate()
    assert again.returncode == 0, err
    scores = json.loads((toy / "scores.json").read_text())
    assert scores.pop("toy/untested")["score"] == 1
    assert scores == others


@pytest.mark.slow
@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_the_tree_as_it_was(toy: Path, with_signal: signal.Signals) -> None:
    """The copy and the tests that run in it end too, and what was judged is reported."""
    (toy / "tests" / "toy" / "tested" / "test_code.py").write_text(SLOW)
    before = state_of(toy)
    process = start(toy, "--room", "toy/tested", "--seconds", "300")
    end_s = monotonic() + 60
    while not list((toy / "temporary").glob("mutate-*/toy/tested")) and monotonic() < end_s:
        sleep(0.1)
    sleep(1)
    process.send_signal(with_signal)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "toy/tested: 0 of 3 mutants were judged in the time" in out
    assert verdicts_of(toy, "toy/tested") == []
    assert not list((toy / "temporary").glob("mutate-*"))
    assert state_of(toy) == before


@pytest.mark.slow
def test_tests_that_fail_without_a_mutant_judge_nothing(toy: Path) -> None:
    """The run names them and ends."""
    (toy / "tests" / "toy" / "tested" / "test_code.py").write_text(
        "def test_red():\n    raise AssertionError\n"
    )
    process = start(toy, "--room", "toy/tested", "--seconds", "300")
    _, err = process.communicate()
    assert process.returncode == 1
    assert "these fail without a mutant: tests/toy/tested/test_code.py" in err


def test_a_seed_draws_the_same_mutants_in_turns_from_every_room(toy: Path) -> None:
    """Another seed draws others; an early end leaves every room its share."""
    rooms = rooms_of(toy, files_of(toy))
    first = drawn(toy, rooms, 2, 1)
    assert first == drawn(toy, rooms, 2, 1)
    assert any(drawn(toy, rooms, 2, seed) != first for seed in range(2, 9))
    assert [room for room, _ in first[:3]] == ["toy/tested", "toy/untested", "toy/used"]
    alone = drawn(toy, {"toy/used": rooms["toy/used"]}, 2, 1)
    assert alone == [one for one in first if one[0] == "toy/used"]


@pytest.mark.parametrize(
    ("source", "faults"),
    [
        ("a < b", ["(a <= b)"]),
        ("a not in b", ["(a in b)"]),
        ("a + -b", ["(a - -b)", "(b)"]),
        ("a and b", ["(a or b)"]),
        ("x = a if b else c", ["(c if b else a)", "(not b)"]),
        ("if f():\n  pass", ["(not f())"]),
        ("if not f():\n  pass", ["(f())"]),
        ("x = 7", ["8"]),
        ("x = 1e30", ["2e+30"]),
        ("x = False", ["True"]),
        ("if TYPE_CHECKING:\n  x = 7", []),
        ("x = 'text', None, f'{1}'", []),
        ("f()", ["pass"]),
        ("raise x", ["pass"]),
        ("x += y", ["pass"]),
        ("def f(a: 1 + 1) -> 2:\n  return a", ["return None"]),
        ("@g(1)\nclass A:\n  a: 1 = 3", ["4"]),
        ("while x < y:\n  break", ["(x <= y)", "continue"]),
    ],
)
def test_faults_of_one_line(tmp_path: Path, source: str, faults: list[str]) -> None:
    """Each operator, condition, constant and statement has its fault; annotations and strings have none."""
    (tmp_path / "code.py").write_text(f"# é\n{source}\n")
    found = sorted(mutants_of(tmp_path, "code.py"), key=lambda mutant: mutant.after)
    assert [mutant.after for mutant in found] == sorted(faults)
    for mutant in found:
        assert ast.dump(ast.parse(mutant.applied((tmp_path / "code.py").read_bytes()))) != ast.dump(
            ast.parse(source)
        )


@pytest.fixture(scope="module")
def of_the_tree() -> list[tuple[str, Mutant]]:
    """Up to three mutants of each room of this tree."""
    return drawn(ROOT, rooms_of(ROOT, files_of(ROOT)), 3, 1)


def test_every_room_of_the_tree_has_mutants_that_parse(of_the_tree: list[tuple[str, Mutant]]) -> None:
    """A fault that is no Python would count as noticed."""
    assert {"actors", "stages", "stages/segment"} <= {room for room, _ in of_the_tree}
    for _, mutant in of_the_tree:
        ast.parse(mutant.applied((ROOT / mutant.file).read_bytes()))


def test_every_known_equivalent_is_a_mutant_of_the_tree_and_has_a_reason() -> None:
    """An entry that code has left behind would excuse the next fault there."""
    for one in tomllib.loads((ROOT / EQUIVALENT).read_text()).get("mutant", []):
        of_file = {identity(ROOT, mutant) for mutant in mutants_of(ROOT, one["file"])}
        assert tuple(one[name] for name in IDENTITY) in of_file
        assert len(one["reason"].split()) > 3


def test_every_core_room_has_a_score_that_reaches_the_goal(of_the_tree: list[tuple[str, Mutant]]) -> None:
    """A room whose tests notice too little stands out here, and so does one that was never judged."""
    scores = json.loads(SCORES.read_text())
    core = {room for room, _ in of_the_tree if Path(room).parts[0] in CORE}
    assert core - set(scores) == UNSCORED
    assert [room for room, row in scores.items() if row["score"] < GOAL] == []
    assert all({"seed", "mutants", "date", "commit"} <= set(row) for row in scores.values())
