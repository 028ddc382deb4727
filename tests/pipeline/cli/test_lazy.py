"""Commands that the tables name in strings: they exist, keep the layers, and cost nothing to describe."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module

import pytest
import typer

from pipeline.cli.app import Index, Root
from pipeline.cli.lazy import LazyGroup
from tests.pipeline.cli.conftest import ROOT, Medsecure

# ``keys`` alone imports NumPy (0.1 s): its help lists the LWE parameter sets, which name types of words.
HEAVY = {
    "PIL",
    "httpx",
    "nibabel",
    "nncf",
    "starlette",
    "torch",
    "cv2",
    "highdicom",
    "matplotlib",
    "pyarrow",
    "ray",
    "scipy",
    "openvino",
    "pydicom",
    "uvicorn",
}
TABLES: tuple[type[LazyGroup], ...] = (Root, Index)
NAMED = [(group, name, target) for group in TABLES for name, (target, _) in group.table.items()]


@pytest.mark.parametrize(("group", "name", "target"), NAMED, ids=[f"{g.path} {n}" for g, n, _ in NAMED])
def test_every_named_command_exists(group: type[LazyGroup], name: str, target: str) -> None:
    """It is a group of commands or a function with an example, and stands in the command line's package.

    The import linter sees no strings: a command elsewhere would pass its layers unseen.
    """
    module, attribute = target.split(":")
    assert module.startswith("pipeline.cli.")
    found = getattr(import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        _, example = found.__doc__.split("Example: ")
        assert f"{group.path} {name}" in example


def test_every_help_is_shown_without_what_computes() -> None:
    """No help page waits for torch, Ray or a decoder, only that of ``keys`` for NumPy."""
    script = (
        "import sys\n"
        "from importlib import import_module\n"
        "import typer\n"
        "from pipeline.cli.app import Index, Root\n"
        "targets = {target for group in (Root, Index) for target, _ in group.table.values()}\n"
        "def show(target):\n"
        "    module, attribute = target.split(':')\n"
        "    found = getattr(import_module(module), attribute)\n"
        "    if not isinstance(found, typer.Typer):\n"
        "        alone = typer.Typer()\n"
        "        alone.command()(found)\n"
        "        typer.main.get_command(alone)\n"
        "for target in targets - {'pipeline.cli.keys:app'}:\n"
        "    show(target)\n"
        "assert 'numpy' not in sys.modules\n"
        "show('pipeline.cli.keys:app')\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    modules = set(done.stdout.split())
    assert "pipeline.cli.model" in modules
    assert modules & HEAVY == set()


def test_the_version_is_that_of_the_project(medsecure: Medsecure) -> None:
    """One line, exit code 0; the help names the option."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert medsecure("--version").out == f"medsecure {project['version']}\n"
    assert "--version" in medsecure("--help").out


def test_the_configuration_is_shown_without_what_computes() -> None:
    """``config show`` reads options only."""
    command = [sys.executable, "-X", "importtime", "-m", "pipeline.cli", "config", "show"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    modules = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "pipeline.config" in modules
    assert modules & HEAVY == set()
