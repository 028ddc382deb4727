"""What ``make test`` and ``make fuzz`` do with property tests, on toy properties in a folder of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

pytestmark = pytest.mark.slow  # each starts pytest several times

ROOT = Path(__file__).parents[2]
FUZZ = ROOT / "tests" / "tools" / "fuzz.py"

RARE = """
from pathlib import Path
from hypothesis import given, settings
from hypothesis import strategies as st

@settings(max_examples=5)
@given(n=st.integers(0, 10**6))
def test_rare(n, tmp_path_factory):
    with Path("seen").open("a") as file:
        print(n, file=file)
    assert n < 990_000
"""
SOUND = """
from hypothesis import given, settings
from hypothesis import strategies as st

@settings(max_examples=10**6)
@given(n=st.integers())
def test_sound_{i}(n):
    assert n + 0 == n
"""


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs Python in a project with our conftest and no more."""
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\ntestpaths = tests\naddopts = -ra\nfilterwarnings = error\n"
    )

    def started(*words: str | Path) -> subprocess.CompletedProcess[str]:
        (tmp_path / "seen").unlink(missing_ok=True)
        return subprocess.run(
            [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return started


def test_tests_repeat_their_examples_and_fuzzing_searches_new_ones(run: Run, tmp_path: Path) -> None:
    """A failure that a few examples miss is missed by the tests every time, found by fuzz and replayed."""
    (tmp_path / "tests" / "test_toy.py").write_text(RARE)
    seen = []
    for _ in range(2):
        assert run("-m", "pytest").returncode == 0
        seen.append((tmp_path / "seen").read_text())
    assert seen[0] == seen[1]
    assert len(seen[0].split()) == 5
    assert not (tmp_path / ".hypothesis" / "examples").exists()

    found = run(FUZZ, "--seconds", "60")
    assert found.returncode == 1, found.stdout
    assert len((tmp_path / "seen").read_text().split()) > 5
    assert "test_toy.py::test_rare fails with\n@example(\n    n=990000,\n)" in found.stdout
    assert "Copy each @example(...) above the @given of its test" in found.stdout

    again = run(FUZZ, "--seconds", "60")
    assert again.returncode == 1
    assert (tmp_path / "seen").read_text().split()[0] == "990000"


def test_fuzzing_that_finds_nothing_ends_in_its_time(run: Run, tmp_path: Path) -> None:
    """Every property gets its share, plain tests are left out, and the exit code is 0."""
    for i in range(3):
        (tmp_path / "tests" / f"test_{i}.py").write_text(SOUND.format(i=i))
    (tmp_path / "tests" / "test_plain.py").write_text("def test_plain():\n    raise AssertionError\n")
    began = monotonic()
    quiet = run(FUZZ, "--seconds", "6")
    assert quiet.returncode == 0, quiet.stdout
    assert "3 passed, 1 deselected" in quiet.stdout
    assert 5 < monotonic() - began < 120
    assert not list((tmp_path / ".hypothesis").glob("examples/*/*"))


def test_a_time_that_is_too_short_names_what_it_did_not_reach(run: Run, tmp_path: Path) -> None:
    """Properties after the end are skipped, and the reason is shown."""
    (tmp_path / "tests" / "test_toy.py").write_text(SOUND.format(i=0))
    late = run(FUZZ, "--seconds", "0")
    assert late.returncode == 0
    assert "a larger FUZZ_SECONDS reaches this property" in late.stdout
