"""What changes an index after the run: erasure, compaction, repair. No secret, no torch."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import Directory, Json, emit, show
from stages.errors import OperatorError
from stages.index.check.fsck import fsck as check_index
from stages.index.check.fsck import repair as repair_index
from stages.index.compact import compact as compact_index
from stages.index.erase import erase as erase_records
from stages.index.log.erasure import Cause
from stages.index.options import IndexOptions
from stages.index.reader import Reader, open_reader
from stages.index.session import open_writer
from stages.index.store.identity import IDENTITY, is_index
from stages.index.store.manifest import BlockKind, Manifest

_DAY_MS = 86_400_000


def erase(
    directory: Directory,
    key: Annotated[str | None, typer.Argument(help="The record's key, or its first digits.")] = None,
    older_than: Annotated[
        float | None, typer.Option("--older-than", min=0, help="Erase what was appended so many DAYS ago.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Erase a record, or all that are older than a number of days: their bytes go, for good.

    The log keeps that there was a record, and says that it was erased. Its key is not taken again.

    Example: medsecure index erase index/ 3f…e1
    """
    if (key is None) == (older_than is None):
        raise OperatorError("give either the KEY of a record or --older-than DAYS")
    _check_index(directory)
    with open_writer(directory, IndexOptions()) as writer:
        writer.publish()
        reader = open_reader(directory)
        if key is not None:
            chosen, cause = _by_key(reader, key), Cause.REQUEST
        else:
            chosen, cause = _by_age(directory, reader, older_than or 0.0), Cause.RETENTION
        count = erase_records(writer, chosen, cause)
        writer.publish()
        reader = open_reader(directory)
    facts = {"erased": count, "size": reader.size, "root": reader.root.hex()}
    if as_json:
        emit(facts)
    else:
        typer.echo(f"{directory}: {count:,} records erased")


def compact(directory: Directory, as_json: Json = False) -> None:
    """Write small segments, and those with erased bytes, again as few and full ones.

    Example: medsecure index compact index/
    """
    _check_index(directory)
    with open_writer(directory, IndexOptions()) as writer:
        found = compact_index(writer)
    if as_json:
        emit(asdict(found))
    else:
        typer.echo(
            f"{directory}: {found.segments_before} segments of {found.bytes_before:,} bytes "
            f"are {found.segments_after} of {found.bytes_after:,} now"
        )


def fsck(
    directory: Directory,
    repair: Annotated[bool, typer.Option("--repair", help="Make again what can be derived.")] = False,
    as_json: Json = False,
) -> None:
    """Check every file, caches and leftovers included. Exit code 1 where anything is wrong.

    Example: medsecure index fsck index/ --repair
    """
    _check_index(directory)
    found = repair_index(directory, IndexOptions()) if repair else check_index(directory)
    mended = set(found.repairable)
    rows = [{**asdict(one), "repairable": one in mended} for one in found.findings]
    if as_json:
        emit({"ok": not rows, "size": found.size, "root": found.root.hex(), "errors": rows})
    elif not rows:
        typer.echo(f"{directory}: {found.size:,} entries, root {found.root.hex()}: sound")
    else:
        table = [
            (
                row["index"] if row["index"] is not None else "",
                row["file"],
                row["reason"],
                "yes" if row["repairable"] else "no",
            )
            for row in rows
        ]
        show(f"{directory} is not sound", ("record", "file", "reason", "repairable"), table)
    raise typer.Exit(int(bool(rows)))


def _check_index(directory: Path) -> None:
    """A writer would make one."""
    if not is_index(directory):
        raise OperatorError(f"{directory} is not an index: it has no {IDENTITY}")


def _by_key(reader: Reader, prefix: str) -> dict[int, bytes]:
    found = {index: key for index, key in reader.listed() if key.hex().startswith(prefix.lower())}
    if len(found) != 1:
        raise OperatorError(f"{len(found)} records have a key that begins with {prefix}: give one whole key")
    return found


def _by_age(directory: Path, reader: Reader, days: float) -> dict[int, bytes]:
    before_ms = time.time_ns() // 1_000_000 - days * _DAY_MS
    rows = Manifest(directory, reader.size)
    old = [row for row in rows if row.kind != BlockKind.STATEMENTS and row.time_ms <= before_ms]
    inside = {index for row in old for index in range(row.first, row.stop)}
    return {index: key for index, key in reader.listed() if index in inside}
