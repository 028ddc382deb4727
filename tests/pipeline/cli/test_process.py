"""``medsecure`` as a process: the exit code that a shell sees, answers on stdout, and errors on stderr."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.cli.conftest import ROOT, Medsecure


def test_exit_code_0_with_the_answer_on_stdout(process: Medsecure, streamed: Path) -> None:
    """Nothing but the document is there, so that another program can read it."""
    assert process("index", "verify", streamed / "index", "--json").json["ok"]


def test_exit_code_1_is_a_finding(process: Medsecure, streamed: Path, tmp_path: Path) -> None:
    """It is told on stdout as any other answer."""
    index = shutil.copytree(streamed / "index", tmp_path / "index")
    tile = next((index / "tile" / "0").rglob("*.p/*"))
    tile.write_bytes(b"x" + tile.read_bytes()[1:])
    assert not process("index", "fsck", index, "--json", expect=1).json["ok"]


@pytest.mark.parametrize(
    "command",
    [
        ("keys", "show"),
        ("index", "stats"),
        ("dead-letters", "list"),
        ("config", "show", "--config"),
        ("verify-proof", "--key", "nowhere"),
        ("evaluate", "--source"),
    ],
    ids=lambda command: command[0],
)
def test_exit_code_2_is_one_sentence_on_stderr(
    process: Medsecure, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Of every group of commands one, given a place where nothing is; stdout stays empty."""
    done = process(*command, tmp_path / "nowhere", expect=2)
    assert "error" in done.err.lower()
    assert "Traceback" not in done.err
    assert done.out == ""


@pytest.mark.parametrize(("group", "name"), [((), "dead-letters"), (("index",), "witness")])
def test_help_imports_no_command(group: tuple[str, ...], name: str) -> None:
    """The tables of commands are shown without waiting for torch, Ray or any command."""
    command = [sys.executable, "-X", "importtime", "-m", "pipeline.cli", *group, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert name in done.stdout
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "pipeline.cli.lazy" in imported
    assert not imported & {"torch", "ray", "numpy", "pipeline.cli.run", "pipeline.cli.inspect"}
