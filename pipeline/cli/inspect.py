"""Figures and verification of an index. No secret, no torch."""

from __future__ import annotations

from dataclasses import asdict

import typer

from pipeline.cli.console import Directory, Json, emit, show


def stats(directory: Directory, as_json: Json = False) -> None:
    """Show size, root, segments and bytes of an index.

    Example: medsecure index stats index/
    """
    from stages.index.stats import stats as stats_of

    found = stats_of(directory)
    facts = {**asdict(found), "root": found.root.hex(), "bytes_per_record": round(found.bytes_per_record)}
    if as_json:
        emit(facts)
    else:
        show(str(directory), ("", ""), [(name.replace("_", " "), _text(one)) for name, one in facts.items()])


def verify(directory: Directory, as_json: Json = False) -> None:
    """Recompute every hash: segments, leaves, tree, checkpoint. Exit code 1 if the index is damaged.

    Example: medsecure index verify index/
    """
    from stages.index.check.verify import verify as verify_index

    report = verify_index(directory)
    if as_json:
        errors = [{**asdict(one), "record_id": one.key} for one in report.errors]
        emit({**asdict(report), "root": report.root.hex(), "errors": errors})
    elif report.ok:
        typer.echo(f"{directory}: {report.size:,} records, root {report.root.hex()}: sound")
    else:
        rows = [(_text(one.index), one.key or "", one.file, one.reason) for one in report.errors]
        show(f"{directory} is damaged", ("record", "record id", "file", "reason"), rows)
    raise typer.Exit(int(not report.ok))


def list_records(directory: Directory, as_json: Json = False) -> None:
    """List the number and the record id of every record.

    Example: medsecure index list index/
    """
    from stages.index.reader import open_reader

    listed = open_reader(directory).listed()
    records = [{"index": index, "record_id": key.hex(), "key": key.hex()} for index, key in listed]
    if as_json:
        emit(records)
    else:
        show(str(directory), ("record", "record id"), [(one["index"], one["record_id"]) for one in records])


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}: {number:,}" for key, number in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)
