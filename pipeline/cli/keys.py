"""``medsecure keys``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import Json, emit, passphrase, show
from stages.encrypt.keys import PublicKeys, load_public, new_keys

app = typer.Typer(help="The owner's keys.", no_args_is_help=True)


@app.command()
def new(
    directory: Annotated[Path, typer.Argument(help="A new key folder.")],
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Store the secret key in the clear.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make keys: owner.key (secret), site.key (for ingest) and public/ (for every worker).

    Example: MEDSECURE_PASSPHRASE=… medsecure keys new keys/
    """
    made = new_keys(directory, None if no_passphrase else passphrase(confirm=True))
    _tell(made, directory, as_json)


@app.command("show")
def show_keys(
    directory: Annotated[Path, typer.Argument(help="A key folder, or its public/.")], as_json: Json = False
) -> None:
    """Print the id and parameters of a public key.

    Example: medsecure keys show keys/
    """
    _tell(load_public(directory), directory, as_json)


def _tell(keys: PublicKeys, directory: Path, as_json: bool) -> None:
    parameters = keys.lwe.parameters
    facts = {
        "directory": str(directory),
        "key_id": keys.key_id.hex(),
        "parameters": parameters.name,
        "n": parameters.n,
        "slots": parameters.slots,
    }
    if as_json:
        emit(facts)
    else:
        show("Public key", ("", ""), [(name, str(value)) for name, value in facts.items()])
