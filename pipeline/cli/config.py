"""``medsecure config``."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from itertools import pairwise

import typer

from pipeline.cli.console import Json, emit
from pipeline.cli.options import Config, settings
from pipeline.config import as_dict

app = typer.Typer(help="The resolved configuration.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """The resolved configuration."""


@app.command()
def show(config: Config = None, as_json: Json = False) -> None:
    """Print the resolved configuration as TOML: defaults, --config, then MEDSECURE__SECTION__KEY variables.

    Above each option stands what it does. In the section `flow` a run here has defaults of its own: see
    `medsecure plan --here`.

    Example: MEDSECURE__SEGMENT__THREADS=2 medsecure config show
    """
    chosen = settings(config)
    tree = as_dict(chosen)
    if as_json:
        emit(tree)
        return
    for section, values in tree.items():
        about = sentences(type(getattr(chosen, section)))
        sys.stdout.write(f"[{section}]\n")
        for key, value in values.items():
            sys.stdout.writelines(f"# {line}\n" if line else "#\n" for line in about[key].splitlines())
            # TOML has no null: a key without a value is shown as a comment
            line = f"# {key} =" if value is None else f"{key} = {_toml(value)}"
            sys.stdout.write(f"{line}\n")
        sys.stdout.write("\n")


def sentences(section: type) -> dict[str, str]:
    """What each option of a section's class does: the text that stands below its field."""
    (tree,) = ast.parse(inspect.getsource(section)).body
    found = {}
    for field, text in pairwise(tree.body if isinstance(tree, ast.ClassDef) else []):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                found[name] = inspect.cleandoc(words)
    return found


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)
