"""``medsecure index audit``: anybody with the ciphertexts may ask it, without a secret."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import Directory, Json, emit, show
from pipeline.queries import audit as auditing
from stages.index.reader import open_reader


def audit(
    directory: Directory,
    answers: Annotated[Path, typer.Option("--answers", help="What search --answers kept.", dir_okay=False)],
    blocks: Annotated[int, typer.Option("--blocks", help="How many blocks to recompute, at random.", min=1)],
    as_json: Json = False,
) -> None:
    """Recompute answers of a search from blocks that the log proves. Exit code 1 where one is wrong.

    Example: medsecure index audit index/ --answers search.answers --blocks 20
    """
    done = auditing.audit(directory, open_reader(directory), answers, blocks)
    if as_json:
        emit(asdict(done))
    else:
        typer.echo(f"{answers}: {done.audited} of {done.answered} answered blocks recomputed")
        if done.unavailable:
            typer.echo(f"{done.unavailable} of their records are no longer there to be recomputed")
        if not done.ok:
            rows = [(one.first_index, one.records, one.party, one.reason) for one in done.errors]
            show("Wrong answers", ("from record", "records", "answered by", "reason"), rows)
    raise typer.Exit(int(not done.ok))
