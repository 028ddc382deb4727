"""A small study with hostile files, keys, and the command line run as an operator runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from evaluation.phantom import Phantom, write_series
from pipeline.cli.app import main
from stages.encrypt.keys.folder import new_keys

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Study:
    folder: Path
    good: tuple[Path, ...]
    bad: tuple[Path, ...]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Medsecure = Callable[..., Done]


def folders(folder: Path) -> list[object]:
    return ["--index", folder / "index", "--results", folder / "results"]


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "keys"
    new_keys(folder, None)
    return folder


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study") / "in"
    good = [
        file
        for number in range(2)
        for file in write_series(
            folder / f"p{number}", Phantom(size=128, spacing_mm=1.4, seed=number), 6, "X"
        )
    ]
    whole = good[0].read_bytes()
    hostile = {
        "empty.dcm": b"",
        "truncated.dcm": whole[: len(whole) // 2],
        "text.png": b"this is no image\n",
        "notes.txt": b"patient seen today\n",
    }
    bad = []
    for name, data in hostile.items():
        bad.append(folder / "hostile" / name)
        bad[-1].parent.mkdir(exist_ok=True)
        bad[-1].write_bytes(data)
    return Study(folder, tuple(good), tuple(bad))


@pytest.fixture(scope="session")
def medsecure() -> Medsecure:
    """Runs ``medsecure`` in this process, where torch is imported already; ``env`` adds to the environment.

    What only a process of its own shows is in test_process.py, and in the tests that kill one.
    """

    def run(*arguments: object, env: dict[str, str] | None = None, expect: int | None = 0) -> Done:
        out, err = StringIO(), StringIO()
        with patch.dict(os.environ, env or {}), redirect_stdout(out), redirect_stderr(err):
            try:
                main([str(one) for one in arguments])
            except SystemExit as ended:
                code = int(ended.code or 0)
            else:
                code = 0
        done = Done(code, out.getvalue(), err.getvalue())
        assert expect in {done.code, None}, done.err + done.out
        return done

    return run


@pytest.fixture(scope="session")
def process() -> Medsecure:
    """Runs ``medsecure`` in a process of its own."""

    def run(*arguments: object, expect: int = 0) -> Done:
        ended = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", *map(str, arguments)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        done = Done(ended.returncode, ended.stdout, ended.stderr)
        assert done.code == expect, done.err + done.out
        return done

    return run


@pytest.fixture(scope="session")
def streamed(
    study: Study, keys: Path, medsecure: Medsecure, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with ``index`` and ``results`` of one local run over the study."""
    folder = tmp_path_factory.mktemp("streamed")
    medsecure(
        *("run", "--engine", "local", "--source", study.folder, "--keys", keys, "--max-rejects", "50%"),
        *("--index", folder / "index", "--results", folder / "results", "--json"),
    )
    return folder
