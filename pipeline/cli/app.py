"""The root of the command line, and how errors become exit codes.

0: done. 1: too many rejects, or findings. 2: usage, configuration, keys or storage. 3: the engine failed.
4: another party's bundle is refused. 130: interrupted.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer
from rich.console import Console
from rich.markup import escape

from pipeline.cli.lazy import LazyGroup
from stages.errors import EngineError, OperatorError, RefusedError, unwritable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Root(LazyGroup):
    """``medsecure``."""

    path = "medsecure"
    about = (
        "A privacy-preserving stream of medical images: segmentations for the clinic, encrypted features in "
        "a verifiable index."
    )
    table: ClassVar[Mapping[str, tuple[str, str]]] = {
        "demo": ("pipeline.cli.run:demo", "Stream a synthetic study, verify the index and search it."),
        "run": ("pipeline.cli.run:run", "Stream images into segmentations and an encrypted index."),
        "keys": ("pipeline.cli.keys:app", "Make, show, rotate and protect the owner's keys."),
        "index": ("pipeline.cli.app:index", "Inspect, verify and search an index, and write proofs."),
        "verify-proof": (
            "pipeline.cli.proofs:verify_proof",
            "Check a proof with the log's public keys.",
        ),
        "dead-letters": ("pipeline.cli.letters:app", "List rejected files, and run them again."),
        "evaluate": ("pipeline.cli.model:evaluate", "Measure segmentation on labelled cases."),
        "train": ("pipeline.cli.model:train", "Train the segmentation model on labelled cases."),
        "crossvalidate": (
            "pipeline.cli.validate:crossvalidate",
            "Cross-validate the training recipe over patients.",
        ),
        "compare": (
            "pipeline.cli.validate:compare",
            "Compare the scores of two models on the same patients.",
        ),
        "refit": ("pipeline.cli.model:refit", "Add out-of-distribution statistics to a weights file."),
        "quantise": ("pipeline.cli.model:quantise", "Make the int8 model for CPUs."),
        "config": ("pipeline.cli.config:app", "Show the resolved configuration."),
        "plan": ("pipeline.cli.plan:plan", "Explain the defaults of a run for a machine."),
    }


class Index(LazyGroup):
    """``medsecure index``."""

    path = "medsecure index"
    about = "The encrypted, verifiable index. Only get, search, sum and mean need the owner's key."
    table: ClassVar[Mapping[str, tuple[str, str]]] = {
        "stats": ("pipeline.cli.inspect:stats", "Size, root, segments and bytes."),
        "verify": (
            "pipeline.cli.inspect:verify",
            "Recompute every hash; exit code 1 if the index is damaged.",
        ),
        "list": ("pipeline.cli.inspect:list_records", "List the number and the record id of every record."),
        "prove": ("pipeline.cli.proofs:prove", "Write a proof of a record, of its absence, or of growth."),
        "witness": (
            "pipeline.cli.proofs:witness",
            "Cosign the log if it continues the last checkpoint seen.",
        ),
        "fsck": ("pipeline.cli.maintain:fsck", "Check every file; --repair makes derived files again."),
        "erase": ("pipeline.cli.maintain:erase", "Erase one record, or all records of a certain age."),
        "compact": ("pipeline.cli.maintain:compact", "Merge small segments and reclaim erased bytes."),
        "push": ("pipeline.cli.copies:push", "Copy the log to object storage or to a folder."),
        "pull": ("pipeline.cli.copies:pull", "Fetch a log from object storage and check it."),
        "get": ("pipeline.cli.search:get", "Open one record with the owner's key."),
        "search": ("pipeline.cli.search:search", "Find the records most similar to an image."),
        "sum": ("pipeline.cli.cohort:total", "Add up the feature vectors of a cohort."),
        "mean": ("pipeline.cli.cohort:mean", "Compute the mean feature vector of a cohort."),
        "serve": ("pipeline.cli.serve:serve", "Serve the index as one of two replicas for private search."),
        "audit": (
            "pipeline.cli.audit:audit",
            "Recompute the answers of a search; exit code 1 if one is wrong.",
        ),
    }


app = typer.Typer(cls=Root, add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
index = typer.Typer(cls=Index, no_args_is_help=True)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"medsecure {version('medsecure-u')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """See the table."""


@index.callback()
def index_root() -> None:
    """See the table."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="medsecure")
    except RefusedError as error:
        _fail(error, 4)
    except OperatorError as error:
        _fail(error, 2)
    except EngineError as error:
        _fail(error, 3)
    except OSError as error:
        if (full := unwritable(error)) is None:
            raise
        _fail(full, 2)
    except KeyboardInterrupt:
        _fail(InterruptedError("interrupted: run again with --resume to continue"), 130)


def _fail(error: Exception, code: int) -> None:
    Console(stderr=True, highlight=False).print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
    sys.exit(code)
