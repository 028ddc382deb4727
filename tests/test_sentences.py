"""One voice: the details of rejects, the messages of errors, and the documents."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.idiom import idioms

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("api", "pipeline", "training", "evaluation", "stages", "actors", "cluster")
DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
)
DETAILS = {"Reject": 3, "BadData": 1, "Refusal": 1, "Refused": 3, "CannotSegment": 0}  # where the detail is
# Functions that make sentences for a detail elsewhere.
MAKERS = {
    "stages/deliver/dicom.py": "read_planes",
    "stages/deliver/masks.py": "of_nifti",
    "stages/preprocess/single.py": "prepare",
    "stages/ingest/purpose.py": "why_no_source",
}
# Details that are handed on: their sentences are found where they are made.
CARRIED = {
    "failed[key]",
    "prepared",
    "one.detail",
    "refusal.detail",
    "detail",  # a field's own
    "why",  # of purpose.py
    "*_without_pixels(dataset, cut)",
    "*_of_system(error)",
    "*_of_reader(error)",
    "*_named(head)",
}
MOST_CHARACTERS = 160
VALUE = "{…}"  # stands for what is filled in
Found = tuple[str, int, str]  # file, line, sentence


@cache
def modules() -> dict[str, ast.Module]:
    return {
        str(file.relative_to(ROOT)): ast.parse(file.read_text())
        for package in PACKAGES
        for file in sorted((ROOT / package).rglob("*.py"))
    }


def templates(node: ast.expr) -> list[str]:
    """What a string, an f-string or a choice of these may say; nothing for another expression."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr():
            return ["".join(templates(part)[0] if templates(part) else VALUE for part in node.values)]
        case ast.IfExp():
            return [*templates(node.body), *templates(node.orelse)]
    return []


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def argument(call: ast.Call, place: int, name: str) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    starred = next((one for one in call.args if isinstance(one, ast.Starred)), None)
    return starred or (call.args[place] if place < len(call.args) else None)


def resolved(node: ast.expr, function: ast.AST) -> list[tuple[int, str]]:
    """The sentences of an expression, or of everything that its name is set to in the function."""
    if not isinstance(node, ast.Name):
        return [(node.lineno, text) for text in templates(node)]
    return [
        (one.lineno, text)
        for one in ast.walk(function)
        if isinstance(one, ast.Assign) and any(ast.unparse(target) == node.id for target in one.targets)
        for text in templates(one.value)
    ]


def functions(tree: ast.Module) -> list[ast.AST]:
    return [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)]


@cache
def details() -> frozenset[Found]:
    """Every sentence of a reject; ``?`` and the expression where none is found."""
    return frozenset(
        (file, line, text)
        for file, tree in modules().items()
        for function in functions(tree)
        for line, text in said_in(file, function)
    )


def said_in(file: str, function: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and name_of(node) in DETAILS:
            given = argument(node, DETAILS[name_of(node)], "detail")
            sentences = resolved(given, function) if given is not None else []
            yield from sentences
            if given is not None and not sentences and ast.unparse(given) not in CARRIED:
                yield node.lineno, f"?{ast.unparse(given)}"
        elif isinstance(node, ast.Tuple) and node.elts and ast.unparse(node.elts[0]).startswith("Reason."):
            yield from resolved(node.elts[1], function)
    if getattr(function, "name", "") == MAKERS.get(file):
        for node in ast.walk(function):
            value = node.value if isinstance(node, ast.Return | ast.Assign | ast.DictComp) else None
            if value is not None:
                yield from ((node.lineno, text) for text in templates(value) if text)


def reject_faults(text: str) -> Iterator[str]:
    if text.startswith("?"):
        yield "its sentence is not found"
    if not text[:1].isupper():
        yield "no capital first"
    if not text.endswith((".", f". {VALUE}")):  # a sentence may be followed by one that is handed on
        yield "no full stop"
    if len(text) > MOST_CHARACTERS:
        yield "too long"
    yield from (f"says {word!r}" for word in idioms(text))


def test_every_reject_says_one_sentence() -> None:
    """Capital first, full stop, no private idiom, not longer than a line and a half."""
    assert [(*one, fault) for one in sorted(details()) for fault in reject_faults(one[2])] == []


def test_the_sentences_of_rejects_are_found() -> None:
    """In every stage that rejects; a few of them by their words."""
    everywhere = {file.split("/")[1] for file, _, text in details() if file.startswith("stages/")}
    assert everywhere >= {"deliver", "encrypt", "index", "ingest", "preprocess", "segment"}
    sentences = {text for _, _, text in details()}
    assert "All pixels have one value, or none is finite." in sentences
    assert "The volume has another shape than when it was segmented." in sentences
    assert len(sentences) > 40


@cache
def families() -> set[str]:
    """The names of all classes that are an OperatorError or an EngineError."""
    bases = {
        node.name: {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    known = {"OperatorError", "EngineError"}
    while grown := {name for name, above in bases.items() if above & known} - known:
        known |= grown
    return known


@cache
def refusals() -> frozenset[Found]:
    """Every message of these errors; of ``DamagedError`` the part after the file's name."""
    return frozenset(
        (file, node.lineno, text)
        for file, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and name_of(node) in families() and node.args
        for text in templates(node.args[1 if name_of(node) == "DamagedError" else 0])
    )


def refusal_faults(text: str) -> Iterator[str]:
    first = text.split(maxsplit=1)[0]
    if first[:1].isupper() and not first.isupper():  # LWE and TLS stay as they are
        yield "a capital first"
    if text.endswith("."):
        yield "a full stop"
    yield from (f"says {word!r}" for word in idioms(text))


def test_every_error_reads_on_after_the_word_error() -> None:
    """``error: `` comes before it: no capital first, no full stop, no private idiom."""
    assert [(*one, fault) for one in sorted(refusals()) for fault in refusal_faults(one[2])] == []


def test_the_messages_of_errors_are_found() -> None:
    """Those of subclasses in other packages too."""
    assert {"KeyFileError", "StoreError", "SessionError", "EquivocationError"} <= families()
    assert len(refusals()) > 150


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("the file is empty.", "no capital first"),
        ("The file is empty", "no full stop"),
        ("The file " + "is " * 60 + "empty.", "too long"),
        ("The file is of whoever wrote it.", "says 'whoever'"),
        ("?some(expression)", "its sentence is not found"),
    ],
)
def test_a_fault_of_a_reject_is_seen(text: str, fault: str) -> None:
    """The reader can fail."""
    assert fault in set(reject_faults(text))


@pytest.mark.parametrize("text", ["The key is missing", "no key is there.", "it is said which key"])
def test_a_fault_of_an_error_is_seen(text: str) -> None:
    """The reader can fail here too."""
    assert list(refusal_faults(text))


def document_faults(text: str) -> list[str]:
    """The private idiom of each paragraph, with the number of the paragraph's first line."""
    faults, line = [], 1
    for paragraph in text.split("\n\n"):
        faults += [f"line {line}: says {word!r}" for word in idioms(paragraph)]
        line += paragraph.count("\n") + 2
    return faults


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_is_in_plain_english(document: Path) -> None:
    """No private idiom in a guide, a specification or a decision."""
    assert document_faults(document.read_text()) == []


def test_the_idiom_of_a_document_is_seen() -> None:
    """Across the end of a line and with a capital first; the line is that of the paragraph."""
    assert document_faults("A title\n\nIt is\nsaid.\n\nWhoever reads.") == [
        "line 3: says 'is said'",
        "line 6: says 'whoever'",
    ]
