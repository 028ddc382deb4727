"""Mis-wiring a graph is a type error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

TOYS = """
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Self, assert_type
from pipeline.engine.graph import Graph
from stages.base import Counted, Split

class Rows:
    counters: Mapping[Counted, int] = {}
    @property
    def keys(self) -> tuple[bytes, ...]: ...
    def __len__(self) -> int: ...
    def cut(self, lo: int, hi: int) -> Self: ...
class A(Rows): ...
class B(Rows): ...
class C(Rows): ...
class Undivided(list[int]):
    counters: Mapping[Counted, int] = {}
    keys: tuple[bytes, ...] = ()
def narrow_undivided(batch: B) -> Undivided: ...
def join_undivided(many: Sequence[Undivided]) -> Undivided: ...
class AtoB:
    name = "ab"
    def open(self) -> AbstractContextManager[Callable[[A], Split[B]]]: ...
class BtoC:
    name = "bc"
    def open(self) -> AbstractContextManager[Callable[[B], Split[C]]]: ...
def narrow(batch: B) -> C: ...
def join_b(many: Sequence[B]) -> B: ...
def join_c(many: Sequence[C]) -> C: ...
class CtoA:
    name = "ca"
    def open(self) -> AbstractContextManager[Callable[[C], Split[A]]]: ...
"""
RIGHT = """
assert_type(Graph.of(AtoB()).then(BtoC()), Graph[A, C])
assert_type(Graph.of(AtoB()).beside(Graph.of(BtoC()), join=join_b), Graph[A, B])
assert_type(Graph.of(AtoB()).gather(narrow, join_c).then(CtoA()), Graph[A, A])
"""
WRONG = {
    "stages in the wrong order": "Graph.of(BtoC()).then(AtoB())",
    "a stage left out": "Graph.of(AtoB()).then(CtoA())",
    "beside a stage of another type": "Graph.of(AtoB()).beside(Graph.of(CtoA()), join=join_b)",
    "another type's join beside": "Graph.of(AtoB()).beside(Graph.of(BtoC()), join=join_c)",
    "another type's join in the gather": "Graph.of(AtoB()).gather(narrow, join_b)",
    "another type's narrow": "Graph.of(BtoC()).gather(narrow, join_c)",
    "rows that cannot be halved in the gather": "Graph.of(AtoB()).gather(narrow_undivided, join_undivided)",
    "what is no batch": "Split([1, 2])",
    "not narrowed": "Graph.of(AtoB()).gather(narrow, join_c).then(BtoC())",
}


def mypy(snippet: Path) -> list[str]:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file=",
               "--follow-imports=silent", "--ignore-missing-imports", "--cache-dir", str(snippet.parent),
               "--disable-error-code=empty-body", str(snippet)]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()


@pytest.mark.slow
def test_mis_wiring_is_a_type_error(tmp_path: Path) -> None:
    """A right graph has the type of its ends; each wrong one is an error on its own line, and no other is."""
    snippet = tmp_path / "wiring.py"
    snippet.write_text(TOYS + RIGHT + "\n".join(WRONG.values()) + "\n")
    first = (TOYS + RIGHT).count("\n") + 1
    found = mypy(snippet)
    errors = {int(line.split(":")[1]) for line in found if ": error:" in line}
    wrong = dict(enumerate(WRONG, first))
    assert [why for line, why in wrong.items() if line not in errors] == [], "no error found"
    assert errors <= set(wrong), "\n".join(found)
