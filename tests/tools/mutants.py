"""Small faults that a test should notice, made from the syntax tree of a module for ``mutate``.

A mutant replaces one expression or statement: a comparison, operator or condition by its neighbour, a number
by the next, a truth value by the other, a call, ``raise`` or update by nothing, a returned value by None.
Annotations, imports for them, decorators and strings stay as they are: no test is expected to notice those.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARED = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
COMPUTED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
UNTESTED = {"annotation", "returns", "decorator_list", "type_comment"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One replacement in one file; ``where`` is the function or class around it."""

    file: str
    line: int
    where: str
    before: str
    after: str
    span: tuple[int, int]  # bytes of the file

    def applied(self, source: bytes) -> bytes:
        """The file with the fault."""
        return source[: self.span[0]] + self.after.encode() + source[self.span[1] :]

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.before} → {self.after}"


def mutants_of(root: Path, file: str) -> Iterator[Mutant]:
    """All mutants of a file, in its order."""
    source = (root / file).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node, where, is_test in _nodes(ast.parse(source), ""):
        begin, end = starts[node.lineno - 1] + node.col_offset, _end(starts, node)
        before = ast.unparse(node)
        for after in _other_condition(node) if is_test else _other(node):
            yield Mutant(file, node.lineno, where, before, after, (begin, end))


def _end(starts: list[int], node: ast.expr | ast.stmt) -> int:
    if node.end_lineno is None or node.end_col_offset is None:
        raise ValueError("the parser always gives an end")
    return starts[node.end_lineno - 1] + node.end_col_offset


def _nodes(tree: ast.AST, where: str) -> Iterator[tuple[ast.expr | ast.stmt, str, bool]]:
    """Expressions and statements whose faults can be noticed: what is around, and whether they decide."""
    for field, value in ast.iter_fields(tree):
        if field in UNTESTED:
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or isinstance(node, ast.JoinedStr) or _is_for_types(node):
                continue  # Python 3.11 does not know where the parts of an f-string stand
            inside = where
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inside = f"{where}.{node.name}".lstrip(".")
            elif isinstance(node, ast.expr | ast.stmt):
                yield node, where, field == "test"
            yield from _nodes(node, inside)


def _is_for_types(node: ast.AST) -> bool:
    """Whether it runs for a type checker only."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _other_condition(node: ast.expr | ast.stmt) -> list[str]:
    """What decides is turned round where it holds no operator that could be turned."""
    return _other(node) or ([f"(not {ast.unparse(node)})"] if isinstance(node, ast.expr) else [])


def _other(node: ast.expr | ast.stmt) -> list[str]:
    match node:
        case ast.Constant(value):
            return _other_constant(value)
        case ast.expr() if (other := _other_expression(node)) is not None:
            return [f"({ast.unparse(other)})"]
        case _:
            return _other_statement(node)


def _other_expression(node: ast.expr) -> ast.expr | None:
    other: ast.expr | None = None
    match node:
        case ast.Compare(left, ops, comparators):
            other = ast.Compare(left, [COMPARED[type(ops[0])](), *ops[1:]], comparators)
        case ast.BinOp(left, op, right) if type(op) in COMPUTED:
            other = ast.BinOp(left, COMPUTED[type(op)](), right)
        case ast.BoolOp(op, values):
            other = ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            other = operand
        case ast.IfExp(test, body, orelse):
            other = ast.IfExp(test, orelse, body)
    return other


def _other_constant(value: object) -> list[str]:
    match value:
        case bool():
            return [str(not value)]
        case int():
            return [str(value + 1)]
        case float():
            return [repr(2 * value or 1.0)]
        case _:
            return []


def _other_statement(node: ast.expr | ast.stmt) -> list[str]:
    match node:
        case ast.Expr(ast.Call() | ast.Await()) | ast.Raise() | ast.AugAssign() | ast.Delete():
            return ["pass"]
        case ast.Return(ast.expr() as value) if not _is_none(value):
            return ["return None"]
        case ast.Break():
            return ["continue"]
        case ast.Continue():
            return ["break"]
        case _:
            return []


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None
