"""Erasure, compaction and repair of an index. No secret, no torch."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import Directory, Json, emit, show
from stages.errors import OperatorError
from stages.index.options import IndexOptions

if TYPE_CHECKING:
    from stages.index.reader import Reader

_DAY_MS = 86_400_000


def erase(
    directory: Directory,
    record_id: Annotated[
        str | None, typer.Argument(metavar="RECORD_ID", help="The record id, or its first digits.")
    ] = None,
    older_than: Annotated[
        float | None,
        typer.Option("--older-than", metavar="DAYS", min=0, help="Erase records that are at least DAYS old."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Erase one record, or all records older than a number of days; their bytes are overwritten.

    The log keeps the record's leaf and an entry that states the erasure. The index refuses the record id from
    then on.

    Example: medsecure index erase index/ 3f…e1
    """
    from stages.index.erase import erase as erase_records
    from stages.index.log.erasure import Cause
    from stages.index.reader import open_reader
    from stages.index.session import open_writer

    if (record_id is None) == (older_than is None):
        raise OperatorError("give either RECORD_ID or --older-than DAYS")
    _check_index(directory)
    with open_writer(directory, IndexOptions()) as writer:
        writer.publish()
        reader = open_reader(directory)
        if record_id is not None:
            chosen, cause = _by_record_id(reader, record_id), Cause.REQUEST
        else:
            chosen, cause = _by_age(directory, reader, older_than or 0.0), Cause.RETENTION
        count = erase_records(writer, chosen, cause)
        writer.publish()
        reader = open_reader(directory)
    erased = next(iter(chosen.values())).hex() if record_id is not None else None
    facts = {"erased": count, "record_id": erased, "size": reader.size, "root": reader.root.hex()}
    if as_json:
        emit(facts)
    else:
        typer.echo(f"{directory}: {count:,} records erased")


def compact(directory: Directory, as_json: Json = False) -> None:
    """Merge small segments, and rewrite those with erased bytes to reclaim the space.

    Example: medsecure index compact index/
    """
    from stages.index.compact import compact as compact_index
    from stages.index.session import open_writer

    _check_index(directory)
    with open_writer(directory, IndexOptions()) as writer:
        found = compact_index(writer)
    if as_json:
        emit(asdict(found))
    else:
        typer.echo(
            f"{directory}: {found.segments_before} segments of {found.bytes_before:,} bytes "
            f"became {found.segments_after} of {found.bytes_after:,} bytes"
        )


def fsck(
    directory: Directory,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make derived files again, and finish interrupted work.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check every file, caches and leftovers included. Exit code 1 if anything is wrong.

    Example: medsecure index fsck index/ --repair
    """
    from stages.index.check.fsck import fsck as check_index
    from stages.index.check.fsck import repair as repair_index

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
    """Refuse a folder that is no index: opening a writer would make one there."""
    from stages.index.store.identity import IDENTITY, is_index

    if not is_index(directory):
        raise OperatorError(f"{directory} is not an index: it has no {IDENTITY}")


def _by_record_id(reader: Reader, prefix: str) -> dict[int, bytes]:
    found = {index: key for index, key in reader.listed() if key.hex().startswith(prefix.lower())}
    if len(found) != 1:
        raise OperatorError(f"{len(found)} record ids begin with {prefix}: give one whole record id")
    return found


def _by_age(directory: Path, reader: Reader, days: float) -> dict[int, bytes]:
    from stages.index.store.manifest import BlockKind, Manifest

    before_ms = time.time_ns() // 1_000_000 - days * _DAY_MS
    rows = Manifest(directory, reader.size)
    old = [row for row in rows if row.kind != BlockKind.STATEMENTS and row.time_ms <= before_ms]
    inside = {index for row in old for index in range(row.first, row.stop)}
    return {index: key for index, key in reader.listed() if index in inside}
