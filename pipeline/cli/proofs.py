"""Proofs for strangers, and the witness who makes them worth more. No secret of the owner, no torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from pipeline.cli.console import Directory, Json, emit, parse_key
from stages.errors import OperatorError
from stages.files import write_whole
from stages.index.reader import Reader, open_reader, open_reader_at
from stages.index.verifier import LogKey, NoteError, ProofError, parse_keys
from stages.index.verifier import verify_proof as check
from stages.index.witness import EquivocationError, load_witness_key, new_witness_key
from stages.index.witness import witness as see

if TYPE_CHECKING:
    from stages.index.log.proof import ErasureProof, GrowthProof, KeyProof, Proof

T = TypeVar("T")


def prove(
    directory: Directory,
    out: Annotated[Path, typer.Option("--out", help="The proof file to write.")],
    key: Annotated[str | None, typer.Argument(help="A record's key, hexadecimal.")] = None,
    old: Annotated[
        Path | None, typer.Option("--from", help="An earlier checkpoint: prove that the log only grew.")
    ] = None,
    at: Annotated[
        Path | None, typer.Option("--at", help="The checkpoint to prove it at, say a cosigned one.  [newest]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a proof for anyone with the log's public keys: that a record is there, or that it is not.

    Of an erased record: that it was there, and when and why it was erased. With --from and no key: that the
    log still begins with all that an earlier checkpoint covered.

    Example: medsecure index prove index/ 3f…e1 --out proof.tlog
    """
    if (key is None) == (old is None):
        raise OperatorError("give either a record's key or --from with an earlier checkpoint")
    reader = open_reader(directory) if at is None else _with_note(at, partial(open_reader_at, directory))
    if old is not None:
        proof: GrowthProof | KeyProof | ErasureProof | Proof = _with_note(old, reader.prove_growth)
    else:
        proof = _of_key(reader, parse_key(key or ""))
    data = proof.encode()
    try:
        write_whole(out, data)
    except OSError as error:
        raise OperatorError(f"cannot write {out}: {error.strerror}") from error
    facts = check(data, reader.log).facts()
    if as_json:
        emit({**facts, "file": str(out)})
    else:
        typer.echo(f"{out} proves: {_sentence(facts)}")
        typer.echo(f"check it with: medsecure verify-proof {out} --key {directory / 'checkpoint.pub'}")


def verify_proof(
    file: Annotated[Path, typer.Argument(help="A proof file.")],
    keys: Annotated[
        list[Path],
        typer.Option("--key", help="The log's public keys, INDEX/checkpoint.pub; a witness's too."),
    ],
    as_json: Json = False,
) -> None:
    """Check a proof with nothing but public keys, all of which must have signed. Exit code 1 if it fails.

    Example: medsecure verify-proof proof.tlog --key index/checkpoint.pub
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise OperatorError(f"cannot read {error.filename}: {error.strerror}") from error
    public = log_keys(keys)
    try:
        document: dict[str, object] = {"ok": True, **check(data, public).facts()}
    except ProofError as error:
        document = {"ok": False, "reason": str(error)}
    if as_json:
        emit(document)
    else:
        typer.echo(
            f"holds: {_sentence(document)}" if document["ok"] else f"does not hold: {document['reason']}"
        )
    raise typer.Exit(int(not document["ok"]))


def witness(
    directory: Directory,
    state: Annotated[Path, typer.Option("--state", help="What was seen last: a note, kept by this command.")],
    key: Annotated[Path | None, typer.Option("--key", help="The witness's key file, to cosign with.")] = None,
    name: Annotated[
        str | None, typer.Option("--new-key", help="Make that key file first, for a witness of this name.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that the log continues what was seen last, remember it, and cosign it if there is a key.

    STATE then is the log's checkpoint with the cosignature. A log that forked or went back is exit code 1,
    and both signed notes are kept as evidence.

    Example: medsecure index witness index/ --state seen.note --key witness.key --new-key example.org/w1
    """
    if name is not None and key is None:
        raise OperatorError("--new-key needs --key: the file to make")
    reader = open_reader(directory)
    signer = None
    if key is not None:
        signer = load_witness_key(key) if name is None else new_witness_key(key, name)
    document: dict[str, object] = {"ok": True, "size": reader.size, "root": reader.root.hex()}
    try:
        before = see(reader, state, signer, int(time.time()))
    except EquivocationError as error:
        evidence = [str(file) for file in error.evidence]
        document |= {"ok": False, "reason": str(error), "evidence": evidence}
        sentence = f"refused: {error}; both notes are kept: {' and '.join(evidence)}"
    else:
        document |= {"seen": before and before.size, "state": str(state), "cosigned": signer is not None}
        since = "seen for the first time" if before is None else f"continues what was seen at {before.size:,}"
        sentence = f"{reader.size:,} records, root {reader.root.hex()}: {since}"
    if as_json:
        emit(document)
    else:
        typer.echo(sentence)
    raise typer.Exit(int(not document["ok"]))


def log_keys(files: Sequence[Path]) -> tuple[LogKey, ...]:
    """The keys in these public key files."""
    try:
        return tuple(one for file in files for one in parse_keys(file.read_text()))
    except (UnicodeDecodeError, NoteError) as error:
        raise OperatorError(f"{', '.join(map(str, files))}: no public key file of a log: {error}") from error
    except OSError as error:
        raise OperatorError(f"cannot read {error.filename}: {error.strerror}") from error


def _of_key(reader: Reader, key: bytes) -> Proof | ErasureProof | KeyProof:
    index = reader.find(key)
    if index is None and (erased := reader.find_erased(key)) is not None:
        return reader.prove_erasure(erased)
    if index is None:
        absence = reader.prove_key(key)
        if absence.index is None:
            return absence
        index = absence.index  # erased after the checkpoint, or the cache is wrong
    return reader.prove(index)


def _with_note(file: Path, use: Callable[[bytes], T]) -> T:
    try:
        return use(file.read_bytes())
    except OSError as error:
        raise OperatorError(f"cannot read {file}: {error.strerror}") from error
    except NoteError as error:
        raise OperatorError(f"{file} is no checkpoint of this log: {error}") from error


def _sentence(facts: dict[str, object]) -> str:
    log = f"the log of {facts['size']:,} records"
    match facts["claim"]:
        case "growth":
            return f"{log} begins with its first {facts['old_size']:,} as they were"
        case "absence":
            return f"none of the first {facts['as_of']:,} records of {log} has key {facts['key']}"
        case "erasure":
            when = str(facts["erased_at"])[:19].replace("T", " ")
            return (
                f"record {facts['index']:,} of {log} has key {facts['key']} and was erased on {when} UTC, "
                f"as entry {facts['erased_by']:,} says; cause: {facts['cause']}"
            )
        case _:
            return f"record {facts['index']:,} of {log} has key {facts['key']}"
