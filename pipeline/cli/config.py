"""``medsecure config``."""

from __future__ import annotations

import json
import sys

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

    In the section `flow` a run here has defaults of its own: see `medsecure plan --here`.

    Example: MEDSECURE__SEGMENT__THREADS=2 medsecure config show
    """
    tree = as_dict(settings(config))
    if as_json:
        emit(tree)
        return
    for section, values in tree.items():
        sys.stdout.write(f"[{section}]\n")
        for key, value in values.items():
            # TOML has no null: a key without a value is shown as a comment
            line = f"# {key} =" if value is None else f"{key} = {_toml(value)}"
            sys.stdout.write(f"{line}\n")
        sys.stdout.write("\n")


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)
