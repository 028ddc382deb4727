"""``medsecure keys``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import Json, PassphraseFile, emit, new_passphrase, opened, passphrase, show
from stages.encrypt.lwe.parameters import LWE32, known_parameters

if TYPE_CHECKING:
    from stages.encrypt.public.folder import PublicKeys

app = typer.Typer(help="The owner's keys.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="A key folder, with owner/ and site/.")]


@app.command()
def new(
    directory: Annotated[Path, typer.Argument(help="A new key folder.")],
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Store the secret key unencrypted.")
    ] = False,
    parameters: Annotated[
        str, typer.Option("--parameters", help=f"LWE parameter set: {', '.join(known_parameters())}.")
    ] = LWE32.name,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Make keys: owner/ (secret: the owner keeps it elsewhere) and site/ (stays where images are encrypted).

    Example: medsecure keys new keys/
    """
    from stages.encrypt.keys.folder import new_keys

    if parameters not in known_parameters():
        raise typer.BadParameter(f"{parameters!r} is unknown: use one of {', '.join(known_parameters())}")
    made = new_keys(
        directory, None if no_passphrase else passphrase(passphrase_file, confirm=True), parameters
    )
    _tell(made, directory, as_json)


@app.command("show")
def show_keys(
    directory: Annotated[Path, typer.Argument(help="A key folder, or its site/.")], as_json: Json = False
) -> None:
    """Print the ids of the public keys and the parameters.

    Example: medsecure keys show keys/
    """
    from stages.encrypt.public.folder import load_public

    _tell(load_public(directory), directory, as_json)


@app.command("export-public")
def export(
    directory: Folder,
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    as_json: Json = False,
) -> None:
    """Make a site folder without any secret, for a worker or an index server.

    Example: medsecure keys export-public keys/ for-the-server/
    """
    from stages.encrypt.keys.rotation import export_public

    _tell(export_public(directory, out), out, as_json)


@app.command("change-passphrase")
def change(
    directory: Folder,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Store the secret keys unencrypted.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    new_passphrase_file: Annotated[
        Path | None, typer.Option("--new-passphrase-file", help="The same for the new passphrase.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Change or remove the passphrase of owner.key and of the retired keys.

    Example: medsecure keys change-passphrase keys/
    """
    from stages.encrypt.keys.rotation import change_passphrase

    new = None if no_passphrase else new_passphrase(new_passphrase_file)
    changed = opened(lambda old: change_passphrase(directory, old, new), passphrase_file)
    facts = {"directory": str(directory), "files": changed, "protected": new is not None}
    if as_json:
        emit(facts)
    else:
        how = "encrypted under the new passphrase" if new is not None else "unencrypted: keep them safe"
        typer.echo(f"{directory}: {changed} key files are now {how}")


@app.command("rotate")
def rotate_keys(directory: Folder, passphrase_file: PassphraseFile = None, as_json: Json = False) -> None:
    """Make a new owner key; the old one moves to retired/ and still opens its records.

    Example: medsecure keys rotate keys/
    """
    from stages.encrypt.keys.rotation import rotate

    _tell(opened(lambda given: rotate(directory, given), passphrase_file), directory, as_json)


@app.command("add-worker")
def add(directory: Folder, passphrase_file: PassphraseFile = None, as_json: Json = False) -> None:
    """Make a new worker.key, and name it in public/ under the owner's signatures.

    Example: medsecure keys add-worker keys/
    """
    from stages.encrypt.keys.workers import add_worker

    name = opened(lambda given: add_worker(directory, given), passphrase_file)
    if as_json:
        emit({"directory": str(directory), "worker_id": name})
    else:
        typer.echo(f"{directory}: wrote worker.key and named its key {name} in public/")


@app.command("revoke-worker")
def revoke(
    directory: Folder,
    worker: Annotated[str, typer.Argument(metavar="WORKER_ID", help="The key's id, or how it begins.")],
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Refuse new blocks from a worker; give out site/public/ again afterwards.

    Example: medsecure keys revoke-worker keys/ 3f0a91
    """
    from stages.encrypt.keys.workers import revoke_worker

    name = opened(lambda given: revoke_worker(directory, worker, given), passphrase_file)
    if as_json:
        emit({"directory": str(directory), "revoked": name})
    else:
        typer.echo(f"{directory}: revoked {name}; give out site/public/ to every machine of the site")


def _tell(keys: PublicKeys, directory: Path, as_json: bool) -> None:
    parameters = keys.lwe.parameters
    facts = {
        "directory": str(directory),
        "owner_id": keys.owner_id,
        "site_id": keys.site_id,
        "bundle": keys.number,
        "key_id": keys.key_id.hex(),
        "parameters": parameters.name,
        "n": parameters.n,
        "slots": parameters.slots,
        "hpke_id": keys.hpke_id,
        "worker_ids": list(keys.workers),
        "revoked_worker_ids": list(keys.revoked),
        "earlier_key_ids": [key_id.hex() for key_id in keys.earlier],
    }
    if as_json:
        emit(facts)
    else:
        rows = [(name, ", ".join(one) if isinstance(one, list) else str(one)) for name, one in facts.items()]
        show("Public keys", ("", ""), rows)
