"""Output of the command line: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from stages.errors import OperatorError
from stages.index.log.leaf import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from pipeline.run.summary import Summary, Tally
    from stages.index.reader import Reader

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="A file of mode 0600 with the passphrase as its only line."),
]
Directory = Annotated[Path, typer.Argument(help="The index folder.")]
RecordId = Annotated[
    str, typer.Argument(metavar="RECORD_ID", help=f"A record id: {2 * KEY_BYTES} hexadecimal digits.")
]

_PLAIN_EVERY_S = 5.0
_PIPE_WIDTH = 200  # where no terminal gives a width: record ids and paths stay on one line


def stderr() -> Console:
    """The console for messages to people."""
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


def passphrase(file: Path | None = None, *, confirm: bool = False) -> str:
    """From a file, from MEDSECURE_PASSPHRASE, or from a prompt."""
    return _secret(file, "MEDSECURE_PASSPHRASE", "Passphrase", confirm=confirm)


def new_passphrase(file: Path | None = None) -> str:
    """From a file, from MEDSECURE_NEW_PASSPHRASE, or from two prompts."""
    return _secret(file, "MEDSECURE_NEW_PASSPHRASE", "New passphrase", confirm=True)


def opened(act: Callable[[str | None], T], file: Path | None) -> T:
    """Do what needs the owner's key, with a passphrase only where one protects it."""
    from stages.encrypt.keys.ownerfile import PassphraseNeededError

    try:
        return act(None)
    except PassphraseNeededError:
        return act(passphrase(file))


def _secret(file: Path | None, variable: str, prompt: str, *, confirm: bool) -> str:
    if file is not None:
        return _line(file)
    given = os.environ.get(variable)
    if given is not None:
        return given
    try:
        return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True))
    except typer.Abort as error:
        raise OperatorError(f"there is no passphrase: name a --passphrase-file, or set {variable}") from error


def _line(file: Path) -> str:
    """The only line of a file that nobody else may read."""
    from stages.encrypt.keys.secretfiles import read_secret

    try:
        text = read_secret(file, "name a file that holds the passphrase").decode()
    except UnicodeDecodeError as error:
        raise OperatorError(f"{file} is not UTF-8 text: write the passphrase into it as one line") from error
    line = text.removesuffix("\n")
    if not line or "\n" in line:
        raise OperatorError(f"{file} does not hold one line: write the passphrase into it, and nothing else")
    return line


def parse_record_id(text: str) -> bytes:
    """A record id from its hexadecimal digits."""
    try:
        record_id = bytes.fromhex(text)
    except ValueError:
        record_id = b""
    if len(record_id) != KEY_BYTES:
        digits = 2 * KEY_BYTES
        raise OperatorError(f"{text[:80]!r} is not a record id: a record id has {digits} hexadecimal digits")
    return record_id


def find(reader: Reader, record_id: str) -> int:
    """The number of the record with this id, hexadecimal."""
    index = reader.find(parse_record_id(record_id))
    if index is None:
        raise OperatorError(f"the index has no record {record_id}")
    return index


class Terminal:
    """Progress of a run on stderr: a live line on a terminal, a plain line every few seconds elsewhere."""

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
        done += tally.copies
        counts = f"{tally.kept:,} indexed · {tally.rejected:,} rejected · {tally.frames - done:,} in progress"
        if not tally.frames and tally.scanned:
            counts = f"{tally.scanned:,} files scanned"
        queues = " ".join(f"{name} {depth}" for name, depth in queued.items() if depth)
        if self._console.is_terminal:
            self._progress.update(self._task, rate=rate, counts=counts, queues=queues)
        elif now - self._plain_s >= _PLAIN_EVERY_S:
            self._plain_s = now
            self._console.print(f"{rate:.1f} frames/s · {counts} · {queues}", soft_wrap=True)


def show_summary(summary: Summary, results: Path, index: Path) -> None:
    """The table at the end of a run, with the sum that accounts for every frame."""
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
        aside = f" {summary.set_aside:,} of them are no images to segment." if summary.set_aside else ""
        out.print(f"Rejected: {reasons}.{aside} See: {see}", soft_wrap=True, markup=False)
    if summary.undelivered:
        out.print(f"{summary.undelivered:,} frames are indexed, but their results could not be written")
    if summary.series_to_review:
        out.print(
            f"{summary.series_to_review:,} series to review: see review and flags in their measurements.json"
        )
    if summary.out_of_scope:
        out.print(f"{summary.out_of_scope:,} series out of scope: do not use their results")
    if not summary.complete:
        out.print("Stopped before the end of the sources: run again with --resume to continue")
    records = f"{summary.checkpoint['size']:,} records"
    out.print(f"Results in {results}, index in {index} ({records})", soft_wrap=True, markup=False)
