"""How the command line speaks: documents on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from stages.errors import OperatorError
from stages.index.log.leaf import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from pipeline.run.summary import Summary, Tally
    from stages.index.reader import Reader

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Directory = Annotated[Path, typer.Argument(help="The index folder.")]
Key = Annotated[str, typer.Argument(help="A record's key, hexadecimal.")]

_PLAIN_EVERY_S = 5.0
_PIPE_WIDTH = 200  # keys and paths stay whole where no terminal says how wide it is


def stderr() -> Console:
    """Where people are spoken to."""
    return Console(stderr=True, highlight=False)


def emit(document: Any) -> None:
    """Print one JSON document."""
    json.dump(document, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on stdout; numbers to the right."""
    table = Table(title=escape(title), title_justify="left", title_style="bold", show_header=any(columns))
    for number, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[number], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    return escape(str(value))  # a file may be called [/]


def passphrase(*, confirm: bool = False) -> str:
    """From MEDSECURE_PASSPHRASE, or asked for."""
    return _secret("MEDSECURE_PASSPHRASE", "Passphrase", confirm=confirm)


def new_passphrase() -> str:
    """From MEDSECURE_NEW_PASSPHRASE, or asked for twice."""
    return _secret("MEDSECURE_NEW_PASSPHRASE", "New passphrase", confirm=True)


def _secret(variable: str, prompt: str, *, confirm: bool) -> str:
    given = os.environ.get(variable)
    if given is not None:
        return given
    try:
        return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True))
    except typer.Abort as error:
        raise OperatorError(f"no passphrase was given: set {variable}") from error


def parse_key(text: str) -> bytes:
    """A record's key from its hexadecimal digits."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise OperatorError(f"{text!r} is no key: keys are {2 * KEY_BYTES} hexadecimal digits")
    return key


def find(reader: Reader, key: str) -> int:
    """The number of the record with this key, hexadecimal."""
    index = reader.find(parse_key(key))
    if index is None:
        raise OperatorError(f"the index has no record {key}")
    return index


class Terminal:
    """Progress of a run on stderr: a live line on a terminal, a plain line now and then elsewhere."""

    def __init__(self) -> None:
        self._console = stderr()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.fields[rate]:7.1f} frames/s"),
            TextColumn("{task.fields[counts]}"),
            TextColumn("[dim]{task.fields[queues]}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task("run", rate=0.0, counts="starting", queues="")
        self._marks: list[tuple[float, int]] = []
        self._plain_s = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, tally: Tally, queued: Mapping[str, int]) -> None:
        """See ``Watcher.update``."""
        done = tally.kept + tally.rejected
        now = time.monotonic()
        passed = tally.passed + tally.rejected
        self._marks = [*(mark for mark in self._marks if now - mark[0] < 2 * _PLAIN_EVERY_S), (now, passed)]
        began, before = self._marks[0]
        rate = (passed - before) / (now - began) if now > began else 0.0
        counts = f"{tally.kept:,} in · {tally.rejected:,} rejected · {tally.frames - done:,} under way"
        queues = " ".join(f"{name} {depth}" for name, depth in queued.items() if depth)
        if self._console.is_terminal:
            self._progress.update(self._task, rate=rate, counts=counts, queues=queues)
        elif now - self._plain_s >= _PLAIN_EVERY_S:
            self._plain_s = now
            self._console.print(f"{rate:.1f} frames/s · {counts} · {queues}", soft_wrap=True)


def show_summary(summary: Summary, results: Path, index: Path) -> None:
    """The table at a run's end, with the sum that proves nothing was lost."""
    stages = [
        (name, stage.frames, round(stage.seconds, 2), round(stage.p50_ms, 1), round(stage.p99_ms, 1))
        for name, stage in summary.stages.items()
    ]
    show("Stages", ("stage", "frames", "busy s", "p50 ms/batch", "p99 ms/batch"), stages)
    out = Console(highlight=False)
    out.print(
        f"[bold]{summary.frames:,} frames[/] of {summary.inputs:,} files = {summary.indexed:,} indexed + "
        f"{summary.already_indexed:,} already indexed + {summary.rejected:,} rejected"
    )
    out.print(f"{summary.seconds:.1f} s, {summary.frames_per_second:.1f} frames/s")
    if summary.rejects_by_reason:
        reasons = ", ".join(f"{count} {reason}" for reason, count in summary.rejects_by_reason.items())
        see = f"medsecure dead-letters list {results}"
        out.print(f"Rejected: {reasons}. See: {see}", soft_wrap=True, markup=False)
    if summary.undelivered:
        out.print(f"{summary.undelivered:,} frames are indexed but their results could not be written")
    if not summary.complete:
        out.print("Stopped before the end of the sources; --resume goes on from here")
    records = f"{summary.checkpoint['size']:,} records"
    out.print(f"Results in {results}, index in {index} ({records})", soft_wrap=True, markup=False)
