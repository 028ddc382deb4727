"""What must survive a power cut is written by ``stages.files``, and by nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("api", "pipeline", "training", "evaluation", "stages", "actors", "cluster", "dashboards")
HOME = "stages/files.py"
# Elsewhere, and why.
ALLOWED = {
    ("stages/index/store/durable.py", "fsync"): "many files of one commit are synced by a pool",
    ("stages/index/store/durable.py", "replace"): "and their directories once, after all renames",
    ("stages/index/copies/pull.py", "write_bytes"): "into staging, to be checked; kept by replace_files",
    ("dashboards/generate.py", "write_text"): "committed files, made again by one command",
    ("training/background.py", "open"): "the lock, whose content only tells who has it",
    ("training/background.py", "write_text"): "a setting of the kernel under /proc",
    ("evaluation/cases.py", "TemporaryDirectory"): "a copy for a reader that wants a path",
}
PATH_ONLY = ("rename", "write_text", "write_bytes", "hardlink_to", "symlink_to")
BY_MODULE = {
    "os": ("rename", "replace", "renames", "link", "symlink", "fsync"),
    "shutil": ("move", "copy", "copy2", "copyfile"),
    "tempfile": ("mkstemp", "NamedTemporaryFile", "mkdtemp", "TemporaryDirectory"),
}


def written(tree: ast.AST) -> Iterator[str]:
    """What a module calls, or hands on to be called, to write a file or to place one under its name."""
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            module = node.value.id if isinstance(node.value, ast.Name) else ""
            call = calls.get(id(node))
            # ``str.replace`` takes two arguments and ``datetime.replace`` names them.
            renames = node.attr == "replace" and call is not None and len(call.args) == 1
            if node.attr in BY_MODULE.get(module, ()) or node.attr in PATH_ONLY or renames:
                yield node.attr
        if isinstance(node, ast.Call) and writes(node):
            yield "open"


def writes(call: ast.Call) -> bool:
    """Whether this is ``open`` or ``Path.open`` with a mode that begins a new content."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    modes = [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return name == "open" and any(set(mode) <= set("wxabt+") and set(mode) & set("wxa") for mode in modes)


@cache
def found() -> frozenset[tuple[str, str]]:
    paths = {
        str(file.relative_to(ROOT)): file for package in PRODUCT for file in (ROOT / package).rglob("*.py")
    }
    return frozenset(
        (path, name)
        for path, file in paths.items()
        if path != HOME
        for name in written(ast.parse(file.read_text()))
    )


def test_files_are_written_in_one_place() -> None:
    """No module writes or renames files by itself, but for those that are named here with a reason."""
    assert sorted(found() - set(ALLOWED)) == []


def test_no_exception_outlives_its_reason() -> None:
    """A module that no longer writes by itself is no longer allowed to."""
    assert sorted(set(ALLOWED) - found()) == []


def test_the_reader_knows_what_writes_and_what_does_not() -> None:
    """Renames, writes and syncs of every form; not strings, dates or readers."""
    forms = """
os.replace(a, b)
a.replace(b)
a.rename(b)
open(a, "wb")
a.open("w")
a.open(mode="x+b")
a.write_text(b)
pool.map(os.fsync, c)
tempfile.mkstemp()
"""
    assert len(list(written(ast.parse(forms)))) == 9
    others = (
        'a.replace("x", "y")\nreplace(a, b=1)\nd.replace(tzinfo=x)\nopen(a)\na.open("rb")\nos.open(a, f)\n'
    )
    assert not list(written(ast.parse(others)))
