"""``medsecure index audit``: needs the ciphertexts and no secret."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import Directory, Json, emit, show


def audit(
    directory: Directory,
    answers: Annotated[
        Path, typer.Option("--answers", help="The file that search --answers wrote.", dir_okay=False)
    ],
    blocks: Annotated[
        int, typer.Option("--blocks", help="The number of blocks to recompute, chosen at random.", min=1)
    ],
    as_json: Json = False,
) -> None:
    """Recompute the answers of a search from blocks verified against the log. Exit code 1 if one is wrong.

    Example: medsecure index audit index/ --answers search.answers --blocks 20
    """
    from pipeline.queries import audit as auditing
    from stages.index.reader import open_reader

    done = auditing.audit(directory, open_reader(directory), answers, blocks)
    if as_json:
        emit(asdict(done))
    else:
        typer.echo(f"{answers}: {done.audited} of {done.answered} answered blocks recomputed")
        if done.unavailable:
            typer.echo(f"{done.unavailable} of their records were erased and cannot be recomputed")
        if not done.ok:
            rows = [(one.first_index, one.records, one.party, one.reason) for one in done.errors]
            show("Wrong answers", ("from record", "records", "answered by", "reason"), rows)
    raise typer.Exit(int(not done.ok))
