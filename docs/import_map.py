"""Draws who imports whom into ``docs/architecture.md``: ``python -m docs.import_map``, or ``make map``.

Two Mermaid diagrams and two tables, from the code by way of grimp, and the rules of import-linter's
contracts. A diagram leaves out an arrow that other arrows imply; the table beside it has them all. The
result is committed; a test holds it equal to what this script would write.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grimp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "architecture.md"


@dataclass(frozen=True, slots=True)
class Layer:
    """Rooms that are drawn side by side; a room is a package or a module with all below it."""

    title: str
    rooms: tuple[str, ...]


HOUSE: Final = (
    Layer("what people and programs call", ("pipeline.cli", "api", "dashboards")),
    Layer("one run, one query", ("pipeline.run", "pipeline.queries")),
    Layer(
        "composition",
        (
            "pipeline.stream",
            "pipeline.devices",
            "pipeline.config",
            "pipeline.plan",
            "pipeline.machine",
            "pipeline.metrics",
        ),
    ),
    Layer("machinery", ("pipeline.engine", "actors", "cluster")),
    Layer("the model", ("training", "evaluation")),
    Layer("what is done to a batch", ("stages",)),
)
STAGES: Final = (
    Layer("for the clinic", ("stages.deliver",)),
    Layer("from files to frames", ("stages.ingest",)),
    Layer("the model", ("stages.segment", "stages.preprocess")),
    Layer("the index in use", ("stages.index.stage", "stages.index.check", "stages.index.copies")),
    Layer("its writer and its reader", ("stages.index",)),
    Layer(
        "the log, as files and as mathematics",
        ("stages.index.store", "stages.index.log", "stages.index.verifier", "stages.index.errors"),
    ),
    Layer("the encryption stage", ("stages.encrypt.stage", "stages.encrypt.options")),
    Layer("keys and ciphertexts", ("stages.encrypt.keys", "stages.encrypt.public", "stages.encrypt.lwe")),
    Layer(
        "shared",
        (
            "stages.components",
            "stages.files",
            "stages.database",
            "stages.batches",
            "stages.grid",
            "stages.packed",
            "stages.places",
            "stages.doubt",
            "stages.base",
            "stages.errors",
            "stages.product",
        ),
    ),
)
Edges = dict[str, set[str]]


def generated(page: str) -> str:
    """The page with both maps and the rules made afresh."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    graph = grimp.build_graph(*settings["root_packages"], cache_dir=None)
    modules = {one: graph.find_modules_directly_imported_by(one) for one in graph.modules}
    inside = {one: found for one, found in modules.items() if one.startswith("stages.") and found}
    page = filled(page, "map of the house", drawn(HOUSE, edges(modules, HOUSE)))
    page = filled(page, "map of the stages", drawn(STAGES, edges(inside, STAGES)))
    return filled(page, "rules", rules(settings["contracts"]))


def edges(modules: Mapping[str, Iterable[str]], layers: Sequence[Layer]) -> Edges:
    """The rooms that each room imports from. Raises ValueError where a module has no room."""
    rooms = [room for layer in layers for room in layer.rooms]
    found: Edges = {room: set() for room in rooms}
    for module, imported in modules.items():
        if module.count(".") == 0 and module not in rooms:
            continue  # a root package that is more than one room
        here = room_of(module, rooms)
        found[here] |= {room_of(one, rooms) for one in imported} - {here}
    return found


def room_of(module: str, rooms: Iterable[str]) -> str:
    """The innermost room that holds a module."""
    holding = [room for room in rooms if f"{module}.".startswith(f"{room}.")]
    if not holding:
        raise ValueError(f"{module} is in no room: add its room to {Path(__file__).name}")
    return max(holding, key=len)


def unimplied(found: Edges) -> Edges:
    """The edges that no longer path implies. Raises CycleError where rooms import one another."""
    below: Edges = {}
    for room in TopologicalSorter(found).static_order():
        below[room] = found[room].union(*(below[one] for one in found[room]))
    return {
        room: {one for one in direct if not any(one in below[other] for other in direct)}
        for room, direct in found.items()
    }


def drawn(layers: Sequence[Layer], found: Edges) -> str:
    """A Mermaid diagram, and a table of all imports."""
    lines = ["```mermaid", "flowchart TB"]
    for number, layer in enumerate(layers):
        lines.append(f'  subgraph layer{number}["{layer.title}"]')
        lines += [f'    {_id(room)}["{room}"]' for room in layer.rooms]
        lines.append("  end")
    shown = unimplied(found)
    lines += [f"  {_id(room)} --> {_id(one)}" for room in found for one in found if one in shown[room]]
    lines += ["```", "", "| room | imports from |", "|---|---|"]
    lines += [
        f"| `{room}` | {', '.join(f'`{one}`' for one in found if one in direct) or 'nothing here'} |"
        for room, direct in found.items()
    ]
    return "\n".join(lines) + "\n"


def rules(contracts: Sequence[Mapping[str, Any]]) -> str:
    """One line for each contract of import-linter."""
    lines = ["| wall | rule |", "|---|---|"]
    for one in contracts:
        if one["type"] == "layers":
            said = " → ".join(_layer(layer) for layer in full_layers(one))
        else:
            said = f"{_names(one['source_modules'])} never {_how(one)} {_names(one['forbidden_modules'])}"
        lines.append(f"| {one['name']} | {said} |")
    return "\n".join(lines) + "\n"


def full_layers(contract: Mapping[str, Any]) -> list[str]:
    """The layers of a contract, with the full names of their modules."""
    inside = "".join(f"{one}." for one in contract.get("containers", ()))
    return [re.sub(r"[\w.]+", lambda name: inside + name[0], layer) for layer in contract["layers"]]


def filled(page: str, name: str, text: str) -> str:
    """The page with the text between its two markers of this name replaced."""
    begin, end = f"<!-- {name}: generated -->\n", f"<!-- {name}: end -->"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    if not after:
        raise ValueError(f"{PAGE.name} has no markers for the {name}")
    return f"{before}{begin}{text}{end}{after}"


def _id(room: str) -> str:
    return room.replace(".", "_")


def _layer(text: str) -> str:
    """Modules of one layer; ``|`` keeps them apart, ``:`` lets them import one another."""
    among = " and " if ":" in text else " beside "
    return among.join(f"`{one.strip()}`" for one in text.replace(":", "|").split("|"))


def _names(modules: Iterable[str]) -> str:
    return ", ".join(f"`{one}`" for one in modules)


def _how(contract: Mapping[str, Any]) -> str:
    return "import" if contract.get("allow_indirect_imports") else "reach, by whatever chain of imports,"


def main() -> None:
    """Write the page."""
    PAGE.write_text(generated(PAGE.read_text()))


if __name__ == "__main__":
    main()
