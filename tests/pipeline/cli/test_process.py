"""``medsecure`` as a process: the exit code that a shell sees, answers on stdout, and errors on stderr."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.cli.conftest import ROOT, Done, Medsecure


def test_exit_code_0_with_the_answer_on_stdout(process: Medsecure, streamed: Path) -> None:
    """Nothing but the document is there, so that another program can read it."""
    assert process("index", "verify", streamed / "index", "--json").json["ok"]


def test_exit_code_1_is_a_finding(process: Medsecure, streamed: Path, tmp_path: Path) -> None:
    """It is told on stdout as any other answer."""
    index = shutil.copytree(streamed / "index", tmp_path / "index")
    tile = next((index / "tile" / "0").rglob("*.p/*"))
    data = tile.read_bytes()
    tile.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    assert not process("index", "fsck", index, "--json", expect=1).json["ok"]


def test_exit_code_2_is_one_sentence_on_stderr(process: Medsecure, tmp_path: Path) -> None:
    """A place where nothing is; stdout stays empty."""
    is_one_sentence(process("keys", "show", tmp_path / "nowhere", expect=2))


@pytest.mark.parametrize(
    "command",
    [
        ("index", "stats"),
        ("dead-letters", "list"),
        ("config", "show", "--config"),
        ("verify-proof", "--key", "nowhere"),
        ("evaluate", "--source"),
    ],
    ids=lambda command: command[0],
)
def test_every_group_refuses_a_place_where_nothing_is(
    medsecure: Medsecure, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """One command of each, in the same way."""
    is_one_sentence(medsecure(*command, tmp_path / "nowhere", expect=2))


def is_one_sentence(done: Done) -> None:
    assert "error" in done.err.lower()
    assert "Traceback" not in done.err
    assert done.out == ""


def imported(*command: object) -> set[str]:
    """The modules that a command has imported when it has ended."""
    python = [sys.executable, "-X", "importtime", "-m", "pipeline.cli"]
    done = subprocess.run([*python, *map(str, command)], capture_output=True, text=True, check=True, cwd=ROOT)
    return {line.split("|")[-1].strip() for line in done.stderr.splitlines()}


@pytest.mark.parametrize("group", [(), ("index",)])
def test_help_imports_no_command(group: tuple[str, ...]) -> None:
    """The tables of commands are shown without waiting for any of them."""
    modules = imported(*group, "--help")
    assert "pipeline.cli.lazy" in modules
    assert not modules & {"torch", "ray", "numpy", "pipeline.cli.run", "pipeline.cli.inspect"}


def test_looking_waits_for_nothing_that_computes(streamed: Path) -> None:
    """What was rejected and what is in an index is listed without torch and Ray."""
    for command in (("dead-letters", "list", streamed / "results"), ("index", "list", streamed / "index")):
        modules = imported(*command)
        assert "pipeline.cli.console" in modules
        assert not modules & {"torch", "ray", "openvino"}
