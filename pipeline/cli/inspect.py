"""What anybody may ask of an index: figures, verification, proofs. No secret, no torch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import Directory, Json, Key, emit, find, show
from stages.base import OperatorError
from stages.index.proof import ProofError
from stages.index.proof import verify_proof as check
from stages.index.reader import open_reader
from stages.index.stats import stats as stats_of
from stages.index.verify import verify as verify_index


def stats(directory: Directory, as_json: Json = False) -> None:
    """Size, root, segments and bytes of an index.

    Example: medsecure index stats index/
    """
    found = stats_of(directory)
    facts = {**asdict(found), "root": found.root.hex(), "bytes_per_record": round(found.bytes_per_record)}
    if as_json:
        emit(facts)
    else:
        show(str(directory), ("", ""), [(name.replace("_", " "), _text(one)) for name, one in facts.items()])


def verify(directory: Directory, as_json: Json = False) -> None:
    """Hash everything again: segments, leaves, tree, checkpoint. Exit code 1 where anything is wrong.

    Example: medsecure index verify index/
    """
    report = verify_index(directory)
    if as_json:
        emit({**asdict(report), "root": report.root.hex()})
    elif report.ok:
        typer.echo(f"{directory}: {report.size:,} records, root {report.root.hex()}: sound")
    else:
        rows = [(_text(one.index), one.key or "", one.file, one.reason) for one in report.errors]
        show(f"{directory} is damaged", ("record", "key", "file", "reason"), rows)
    raise typer.Exit(int(not report.ok))


def list_records(directory: Directory, as_json: Json = False) -> None:
    """List number and key of every record that is there.

    Example: medsecure index list index/
    """
    listed = open_reader(directory).listed()
    records = [{"index": index, "key": key.hex()} for index, key in listed]
    if as_json:
        emit(records)
    else:
        show(str(directory), ("record", "key"), [(one["index"], one["key"]) for one in records])


def prove(
    directory: Directory,
    key: Key,
    out: Annotated[Path, typer.Option("--out", help="The proof file to write.")],
    as_json: Json = False,
) -> None:
    """Write a proof that a record is in the log, for anyone with the log's public key.

    Example: medsecure index prove index/ 3f…e1 --out proof.tlog
    """
    reader = open_reader(directory)
    index = find(reader, key)
    try:
        out.write_bytes(reader.prove(index).encode())
    except OSError as error:
        raise OperatorError(f"cannot write {out}: {error.strerror}") from error
    facts = {"key": key, "index": index, "size": reader.size, "root": reader.root.hex(), "file": str(out)}
    if as_json:
        emit(facts)
    else:
        typer.echo(f"record {index} of {reader.size} is proven by {out}")
        typer.echo(f"check it with: medsecure verify-proof {out} --key {directory / 'checkpoint.pub'}")


def verify_proof(
    file: Annotated[Path, typer.Argument(help="A proof file.")],
    key: Annotated[Path, typer.Option("--key", help="The log's public key: INDEX/checkpoint.pub.")],
    as_json: Json = False,
) -> None:
    """Check a proof with nothing but the log's public key. Exit code 1 where it does not hold.

    Example: medsecure verify-proof proof.tlog --key index/checkpoint.pub
    """
    try:
        proven = check(file.read_bytes(), key.read_text().strip())
    except UnicodeDecodeError as error:
        raise OperatorError(f"{key} is no public key of a log") from error
    except OSError as error:
        raise OperatorError(f"cannot read {error.filename}: {error.strerror}") from error
    except ProofError as error:
        document: dict[str, object] = {"ok": False, "reason": str(error)}
    else:
        size = proven.checkpoint.size
        document = {"ok": True, "index": proven.index, "size": size, "key": proven.leaf.key.hex()}
    if as_json:
        emit(document)
    elif document["ok"]:
        typer.echo(f"holds: record {document['index']} of {document['size']}, key {document['key']}")
    else:
        typer.echo(f"does not hold: {document['reason']}")
    raise typer.Exit(int(not document["ok"]))


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}: {number:,}" for key, number in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)
