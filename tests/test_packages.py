"""Every package says what it holds and where a reader begins."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP = ("api", "pipeline", "training", "evaluation", "stages", "actors", "cluster", "dashboards")
PACKAGES = sorted(
    str(file.parent.relative_to(ROOT)) for top in TOP for file in (ROOT / top).rglob("__init__.py")
)


def docstring(package: str) -> str:
    return ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text())) or ""


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_in_one_line_what_it_holds_and_where_to_start(package: str) -> None:
    """The module named after ``Start at`` is one of its own."""
    text = docstring(package)
    assert "\n" not in text
    found = re.fullmatch(r"[A-Z].+[.)] Start at ``(\w+)``(?: \([a-z ]+\) and ``(\w+)``)?\.", text)
    assert found, text
    for name in filter(None, found.groups()):
        assert (ROOT / package / f"{name}.py").is_file()


def test_every_folder_with_modules_is_a_package() -> None:
    """None is left without a sentence."""
    folders = {str(file.parent.relative_to(ROOT)) for top in TOP for file in (ROOT / top).rglob("*.py")}
    assert folders == set(PACKAGES)


def type_names(module: ast.Module) -> Iterator[str]:
    """Its classes and type aliases, without the underscores of private ones."""
    for node in module.body:
        match node:
            case ast.ClassDef(name=name):
                yield name.lstrip("_")
            case ast.Assign(targets=[ast.Name(id=name)]) if re.match("_*[A-Z].*[a-z]", name):
                yield name.lstrip("_")


def test_type_names_are_those_of_classes_and_aliases_public_or_not() -> None:
    """Constants, functions and what a function holds are none."""
    text = "class _One: ...\nTwo = int | str\n_Three = list[One]\nMOST = 3\nfour = 4\ndef f(): Five = int"
    assert list(type_names(ast.parse(text))) == ["One", "Two", "Three"]


def test_no_type_name_stands_twice() -> None:
    """A reader who searches a name finds one class or alias; what is private to a module counts too."""
    names = Counter(
        name
        for top in TOP
        for file in (ROOT / top).rglob("*.py")
        for name in type_names(ast.parse(file.read_text()))
    )
    assert [name for name, count in names.items() if count > 1] == []
