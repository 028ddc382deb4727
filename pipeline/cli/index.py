"""``medsecure index``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from pipeline import query
from pipeline.cli.console import Config, Json, emit, passphrase, settings, show, stderr
from stages.encrypt.keys import OwnerKeys, PassphraseNeededError, load_owner
from stages.encrypt.owner import decrypt
from stages.encrypt.sealing import open_sealed
from stages.encrypt.wire import decode_header
from stages.index.proof import ProofError, verify_proof
from stages.index.reader import Reader, open_reader
from stages.index.stats import stats as stats_of
from stages.index.verify import verify as verify_index

app = typer.Typer(help="The encrypted, verifiable index.", no_args_is_help=True)
Directory = Annotated[Path, typer.Argument(help="The index folder.")]
Key = Annotated[str, typer.Argument(help="A record's key, hexadecimal.")]
Secret = Annotated[Path, typer.Option("--secret", help="owner.key, or the key folder.")]


@app.command()
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


@app.command()
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


@app.command("list")
def list_records(directory: Directory, as_json: Json = False) -> None:
    """List every record's number and key.

    Example: medsecure index list index/
    """
    records = [
        {"index": block.first_index + row, "key": key.hex()}
        for block in open_reader(directory).blocks()
        for row, key in enumerate(block.keys)
    ]
    if as_json:
        emit(records)
    else:
        show(str(directory), ("record", "key"), [(one["index"], one["key"]) for one in records])


@app.command()
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
    index = _find(reader, key)
    out.write_bytes(reader.prove(index).encode())
    facts = {"key": key, "index": index, "size": reader.size, "root": reader.root.hex(), "file": str(out)}
    if as_json:
        emit(facts)
    else:
        typer.echo(f"record {index} of {reader.size} is proven by {out}")
        typer.echo(f"check it with: medsecure verify-proof {out} --key {directory / 'checkpoint.pub'}")


@app.command()
def get(
    directory: Directory,
    key: Key,
    secret: Secret,
    as_json: Json = False,
) -> None:
    """Open one record with the owner's key: what identifies it, and its feature vector.

    Example: medsecure index get index/ 3f…e1 --secret keys/owner.key
    """
    reader = open_reader(directory)
    record = reader.record(_find(reader, key))
    owner = open_owner(secret)
    header = decode_header(record.header)
    one = replace(header, slot=header.slot + record.leaf.position, count=1)
    numbers_1D = decrypt(owner.lwe, one, record.head_Dn, record.column_D[None, :])
    document = {
        "key": key,
        "index": record.index,
        "identity": json.loads(open_sealed(owner, record.sealed, aad=record.key)),
        "feature": (numbers_1D[0] / header.scale).round(6).tolist(),
    }
    if as_json:
        emit(document)
    else:
        show(f"Record {record.index}", ("attribute", "value"), sorted(document["identity"].items()))


@app.command()
def search(
    directory: Directory,
    secret: Secret,
    image: Annotated[Path | None, typer.Option("--image", help="Any image the stream reads.")] = None,
    vector: Annotated[Path | None, typer.Option("--vector", help="A feature vector: JSON or .npy.")] = None,
    frame: Annotated[
        int | None, typer.Option("--frame", help="Frame of the image, from 0.  [default: the middle]", min=0)
    ] = None,
    top: Annotated[int, typer.Option("--top", help="How many.", min=1)] = 10,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Find the records most similar to an image; scores are computed on ciphertexts.

    Example: medsecure index search index/ --secret keys/owner.key --image study/0012.dcm
    """
    if (image is None) == (vector is None):
        raise query.QueryError("give either --image or --vector")
    reader = open_reader(directory)
    owner = open_owner(secret)
    if image is not None:
        feature_D = query.describe_image(image, frame, settings(config))
    else:
        feature_D = query.read_vector(vector or Path())
    result = query.search(reader, owner, feature_D, top)
    if as_json:
        emit([hit.as_json() for hit in result.hits])
        return
    show_hits(result.hits)
    if result.unreadable:
        stderr().print(f"{result.unreadable:,} records are under another key and were not searched")


def show_hits(hits: Sequence[query.Hit]) -> None:
    """The answer as a table."""
    rows = [(place, hit.score, hit.index, hit.key, hit.proof_ok) for place, hit in enumerate(hits, start=1)]
    show("Most similar", ("", "cosine", "record", "key", "proven"), rows)


def check_proof(
    file: Annotated[Path, typer.Argument(help="A proof file.")],
    key: Annotated[Path, typer.Option("--key", help="The log's public key: INDEX/checkpoint.pub.")],
    as_json: Json = False,
) -> None:
    """Check a proof with nothing but the log's public key. Exit code 1 where it does not hold.

    Example: medsecure verify-proof proof.tlog --key index/checkpoint.pub
    """
    try:
        proven = verify_proof(file.read_bytes(), key.read_text().strip())
    except OSError as error:
        raise typer.BadParameter(f"cannot read {error.filename}: {error.strerror}") from error
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


def open_owner(secret: Path) -> OwnerKeys:
    """The owner's keys; the passphrase is asked for only where there is one."""
    try:
        return load_owner(secret, None)
    except PassphraseNeededError:
        return load_owner(secret, passphrase())


def _find(reader: Reader, key: str) -> int:
    try:
        index = reader.find(bytes.fromhex(key))
    except ValueError:
        raise query.QueryError(f"{key!r} is no key: keys are 64 hexadecimal digits") from None
    if index is None:
        raise query.QueryError(f"the index has no record {key}")
    return index


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
