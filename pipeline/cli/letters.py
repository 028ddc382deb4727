"""``medsecure dead-letters``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import Json, emit, show, show_summary

app = typer.Typer(help="Rejected files and frames, with reasons.", no_args_is_help=True)
Results = Annotated[Path, typer.Argument(help="The results folder of a run.")]


@app.command("list")
def list_letters(directory: Results, as_json: Json = False) -> None:
    """List every rejected file and frame, with its reason.

    Example: medsecure dead-letters list results/
    """
    from pipeline.run import dead_letters

    letters = dead_letters.read(directory)
    if as_json:
        emit([letter.as_json() for letter in letters])
        return
    rows = [(one.path, one.frame, one.stage, one.reason, one.detail) for one in letters]
    show("Dead letters", ("file", "frame", "stage", "reason", "detail"), rows)
    reasons = Counter(letter.reason for letter in letters)
    show("By reason", ("reason", "letters"), reasons.most_common())


@app.command()
def replay(directory: Results, as_json: Json = False) -> None:
    """Run the rejected files again, with the configuration of the run that rejected them.

    Example: medsecure dead-letters replay results/
    """
    # Imported here: a list of letters does not wait for torch and Ray.
    from pipeline.cli.run import stream, verdict
    from pipeline.run.replay import replayed

    job = replayed(directory)
    summary = stream(job)
    if as_json:
        emit(summary.as_json())
    else:
        show_summary(summary, job.results, job.index)
    raise typer.Exit(verdict(summary, job.settings.run.max_rejects))
