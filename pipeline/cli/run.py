"""``medsecure run`` and ``medsecure demo``."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import demo as the_demo
from pipeline.cli.console import Json, Terminal, emit, show_summary
from pipeline.cli.options import Config, DeviceOption, EngineOption, settings_here
from pipeline.run.job import Job
from stages.errors import OperatorError
from stages.ingest.options import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.run.summary import Summary


def share(text: str | None) -> float | None:
    """``5%`` or ``0.05``."""
    if text is None:
        return None
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"{text!r} is not a share: give 5% or 0.05")
    return value


def run(
    source: Annotated[
        list[str],
        typer.Option("--source", help="A file, a folder, or manifest:FILE (one path per line); repeatable."),
    ],
    index: Annotated[Path, typer.Option("--index", help="The index folder; created if missing.")],
    results: Annotated[Path, typer.Option("--results", help="The folder for segmentations and the summary.")],
    keys: Annotated[
        Path, typer.Option("--keys", help="The site's key folder, or the folder that contains it.")
    ],
    engine: EngineOption = None,
    device: DeviceOption = None,
    config: Config = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip the series that an earlier run finished.")
    ] = False,
    layout: Annotated[
        Layout | None,
        typer.Option(
            "--layout", help="series-per-folder: each folder holds whole series, so they start at once."
        ),
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", help="Serve /metrics on this port.", min=0, max=65535)
    ] = None,
    max_rejects: Annotated[
        str | None, typer.Option("--max-rejects", help="The allowed share of rejects (default: 5%).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Stream images into segmentations and an encrypted, verifiable index.

    Example: medsecure run --source study/ --index index/ --results results/ --keys keys/site
    """
    asked = {
        "engine": engine,
        "device": device,
        "metrics_port": metrics_port,
        "max_rejects": share(max_rejects),
    }
    chosen = settings_here(config, run=asked, ingest={"layout": layout})
    job = Job(tuple(source), index, results, keys, chosen, resume)
    summary = stream(job)
    if as_json:
        emit(summary.as_json())
    else:
        show_summary(summary, results, index)
    refuse_imageless(source, summary)
    raise typer.Exit(verdict(summary, chosen.run.max_rejects))


def demo(
    out: Annotated[
        Path, typer.Option("--out", help="The folder for the study, keys, results and index.")
    ] = Path("demo"),
    engine: EngineOption = None,
    device: DeviceOption = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make a synthetic study and keys, stream it, verify the index and search it.

    Example: medsecure demo --out demo
    """
    chosen = settings_here(config, run={"engine": engine, "device": device})
    the_demo.run(out, chosen, stream, as_json=as_json)


def stream(job: Job) -> Summary:
    """Run a job with progress on stderr, where Ray's messages about killed workers go as well."""
    from pipeline.run.run import run as run_job

    with redirect_stdout(sys.stderr), Terminal() as terminal:
        return run_job(job, terminal)


def verdict(summary: Summary, max_rejects: float) -> int:
    """The exit code: 1 if too many frames were rejected or not delivered, or if the run was stopped early.

    What is no image to segment is no frame here.
    """
    lost = summary.rejected - summary.set_aside + summary.undelivered
    return int(not summary.complete or lost > max_rejects * (summary.frames - summary.set_aside))


def refuse_imageless(sources: Sequence[str], summary: Summary) -> None:
    """Raise OperatorError if the sources hold no image to segment."""
    if summary.found_no_image:
        found = ", ".join(f"{count} {reason}" for reason, count in summary.rejects_by_reason.items())
        raise OperatorError(f"there is no image to segment in {', '.join(sources)}; found instead: {found}")
