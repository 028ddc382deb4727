"""Files, modules and metrics that a text names are there: a move or a new name leaves no text behind."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from pipeline.metrics import TABLE
from stages.base import Reason

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = "actors|api|benchmarks|cluster|dashboards|docs|evaluation|pipeline|stages|tests|training"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "stages" / "segment" / "weights" / "README.md",
]
SOURCES = [
    file
    for package in PACKAGES.split("|")
    for file in sorted((ROOT / package).rglob("*.py"))
    if file != Path(__file__)
]
NAMES = {file.name for file in (*SOURCES, *ROOT.glob("*.py"), Path(__file__))}
FILE = re.compile(rf"(?<![\w/.-])((?:{PACKAGES})/[\w./-]*\w\.(?:py|md|json|sh|yml|svg|png)|\w+\.py)\b")
FOLDER = re.compile(rf"`((?:{PACKAGES})/[\w/]*)`")
MODULE = re.compile(rf"`+(?:python -m )?((?:{PACKAGES})(?:\.\w+)+)`+")
METRIC = re.compile(r"medsecure_[a-z_]+(?:_total|_seconds|_bytes|_frames|_records)\b")


def prose(file: Path) -> str:
    """A page's text; of a module the docstrings and comments."""
    text = file.read_text()
    if file.suffix == ".md":
        return text
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    strings = [
        ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text)) if isinstance(node, documented)
    ]
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return "\n".join([*strings, *(token.string for token in tokens if token.type == tokenize.COMMENT)])


def missing(file: Path) -> Iterator[str]:
    """What the text of a file names and the tree does not have."""
    if not any(pattern.search(file.read_text()) for pattern in (FILE, FOLDER, MODULE)):
        return  # neither does its prose, which costs more to find
    text = prose(file)
    for path in (*FILE.findall(text), *FOLDER.findall(text)):
        if not (path in NAMES or (ROOT / path).exists()):
            yield path
    for name in MODULE.findall(text):
        if not defined(name):
            yield name


@cache
def defined(name: str) -> bool:
    """Whether a dotted name is a module, or something that a module says."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        module = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if module.exists() or path.is_dir():
            rest = parts[length:]
            return not rest or (module.exists() and bool(re.search(rf"\b{rest[0]}\b", module.read_text())))
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_files_and_modules_that_are_there(page: Path) -> None:
    """Paths, packages and dotted modules in a page exist."""
    assert not sorted(set(missing(page)))


def test_docstrings_and_comments_name_files_and_modules_that_are_there() -> None:
    """So do those of the code."""
    found = {f"{file.relative_to(ROOT)}: {name}" for file in SOURCES for name in missing(file)}
    assert not sorted(found)


def test_a_name_that_is_not_there_is_found(tmp_path: Path) -> None:
    """A moved file, a renamed module and a lost function are each named; what exists is not."""
    page = tmp_path / "page.md"
    page.write_text(
        "`stages/base.py` `stages/gone.py` gone.py `stages.gone` `stages.base.Reject` `stages.base.Gone`"
    )
    assert set(missing(page)) == {"stages/gone.py", "gone.py", "stages.gone", "stages.base.Gone"}


def test_pages_name_metrics_of_the_table() -> None:
    """A metric that a page names is served."""
    known = {metric.name for metric in TABLE}
    named = {name for page in PAGES for name in METRIC.findall(page.read_text())}
    assert named <= known


def reasons(page: str, heading: str) -> set[str]:
    """What the first column of a page's table under this heading names."""
    text = (ROOT / "docs" / page).read_text().partition(f"## {heading}")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.lstrip().startswith("| `")]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


@pytest.mark.parametrize(
    ("page", "heading"),
    [("operators.md", "Dead letters"), ("architecture.md", "The journey of a reject")],
    ids=["what to do about it", "who makes it"],
)
def test_a_table_of_reject_reasons_has_each(page: str, heading: str) -> None:
    """Every reject reason stands in the table, and no other does."""
    assert reasons(page, heading) == {reason.value for reason in Reason}
