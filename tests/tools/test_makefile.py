"""What the Makefile offers a newcomer."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.tools.judge import QUICK

ROOT = Path(__file__).parents[2]


def make(*words: str) -> str:
    return subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_make_alone_lists_every_target_with_its_purpose_in_one_column() -> None:
    """A target that the list leaves out would be found by nobody."""
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    lines = make().splitlines()
    listed = [re.fullmatch(r"(make ([\w-]+) +)\S.*", line) for line in lines]
    assert [one[2] for one in listed if one] == phony[1].split()
    assert len({len(one[1]) for one in listed if one}) == 1
    assert make("help").splitlines() == lines


def test_quick_leaves_out_what_mutants_are_not_run_against() -> None:
    """One meaning of a quick test."""
    assert f'-m "{QUICK}"' in make("--dry-run", "quick")


def test_mutate_hands_its_variables_on() -> None:
    """Rooms, seed and seconds reach the tool, and the scores are kept beside it."""
    shown = make("--dry-run", "mutate", "ROOM=stages/index api", "SEED=3", "SECONDS=9", "AGAIN=1")
    assert "tests.tools.mutate --room stages/index api --seed 3 --seconds 9" in shown
    assert "--out tests/tools/mutation-score.json --again" in shown
