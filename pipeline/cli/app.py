"""The root of the command line, and how errors become exit codes.

0: done. 1: rejects above the allowed share, or findings. 2: usage, configuration, keys. 3: the engine.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from actors.crew import StageFailed
from cluster.session import SessionError
from pipeline.cli import config, index, keys, letters, model, run
from pipeline.cli.console import stderr
from pipeline.config import ConfigError
from pipeline.dead_letters import NoDeadLettersError
from pipeline.job import JobError
from pipeline.query import QueryError
from pipeline.summary import LostRowsError
from stages.encrypt.errors import LweError
from stages.encrypt.keys import KeyFileError
from stages.encrypt.sealing import SealError
from stages.index.errors import IndexStoreError
from stages.segment.cases import CaseError
from stages.segment.checkpoint import WeightsError

if TYPE_CHECKING:
    from collections.abc import Sequence

_USAGE = (
    CaseError,
    ConfigError,
    IndexStoreError,
    JobError,
    KeyFileError,
    LweError,
    NoDeadLettersError,
    QueryError,
    SealError,
    WeightsError,
)
_ENGINE = (LostRowsError, SessionError, StageFailed)

app = typer.Typer(
    name="medsecure",
    help="A privacy-preserving stream of medical images: segmentations for the clinic, encrypted features "
    "in a verifiable index.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("run")(run.run)
app.command("demo")(run.demo)
app.add_typer(keys.app, name="keys")
app.add_typer(index.app, name="index")
app.add_typer(letters.app, name="dead-letters")
app.add_typer(config.app, name="config")
app.command("evaluate")(model.evaluate)
app.command("train")(model.train)
app.command("verify-proof")(index.check_proof)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit."""
    try:
        app(args=None if arguments is None else list(arguments))
    except _USAGE as error:
        _fail(error, 2)
    except _ENGINE as error:
        _fail(error, 3)


def _fail(error: Exception, code: int) -> None:
    stderr().print(f"[red]error:[/] {_escape(str(error))}", soft_wrap=True)
    sys.exit(code)


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
