"""Proofs that need only public keys, and the witness. No secret of the owner, no torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from pipeline.cli.console import Directory, Json, emit, parse_record_id
from stages.errors import OperatorError
from stages.files import write_whole

if TYPE_CHECKING:
    from stages.index.log.proof import ErasureProof, GrowthProof, KeyProof, Proof
    from stages.index.reader import Reader
    from stages.index.verifier import LogKey, VerifiedProof

T = TypeVar("T")


def prove(
    directory: Directory,
    out: Annotated[Path, typer.Option("--out", help="The proof file to write.")],
    record_id: Annotated[
        str | None, typer.Argument(metavar="RECORD_ID", help="The record whose presence or absence to prove.")
    ] = None,
    old: Annotated[
        Path | None,
        typer.Option("--from", help="An earlier checkpoint; the proof shows that the log only grew since."),
    ] = None,
    at: Annotated[
        Path | None,
        typer.Option(
            "--at", help="The checkpoint of the proof, such as a cosigned one (default: the newest)."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a proof that a record is in the log, or that it is not; the log's public keys check it.

    For an erased record the proof shows that it was there, and when and why it was erased. With --from and
    no record id it shows that the log still begins with everything an earlier checkpoint covered.

    Example: medsecure index prove index/ 3f…e1 --out proof.tlog
    """
    from stages.index.reader import open_reader, open_reader_at
    from stages.index.verifier import verify_proof as check

    if (record_id is None) == (old is None):
        raise OperatorError("give either RECORD_ID or --from with an earlier checkpoint")
    reader = open_reader(directory) if at is None else _with_note(at, partial(open_reader_at, directory))
    if old is not None:
        proof: GrowthProof | KeyProof | ErasureProof | Proof = _with_note(old, reader.prove_growth)
    else:
        proof = _of_record(reader, parse_record_id(record_id or ""))
    data = proof.encode()
    try:
        write_whole(out, data)
    except OSError as error:
        raise OperatorError(f"cannot write {out}: {error.strerror}") from error
    facts = _facts(check(data, reader.log))
    if as_json:
        emit({**facts, "file": str(out)})
    else:
        typer.echo(f"{out} proves: {_sentence(facts)}")
        typer.echo(f"check it with: medsecure verify-proof {out} --key {directory / 'checkpoint.pub'}")


def verify_proof(
    file: Annotated[Path, typer.Argument(help="A proof file.")],
    keys: Annotated[
        list[Path],
        typer.Option(
            "--key", help="A file of public keys, INDEX/checkpoint.pub or a witness's; may be repeated."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Check a proof with public keys only; each of them must have signed. Exit code 1 if the proof fails.

    Example: medsecure verify-proof proof.tlog --key index/checkpoint.pub
    """
    from stages.index.verifier import ProofError
    from stages.index.verifier import verify_proof as check

    try:
        data = file.read_bytes()
    except OSError as error:
        raise OperatorError(f"cannot read {error.filename}: {error.strerror}") from error
    public = log_keys(keys)
    try:
        document: dict[str, object] = {"ok": True, **_facts(check(data, public))}
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
    state: Annotated[Path, typer.Option("--state", help="The last checkpoint seen; this command keeps it.")],
    key: Annotated[Path | None, typer.Option("--key", help="The witness's key file, to cosign with.")] = None,
    name: Annotated[
        str | None, typer.Option("--new-key", help="Make the key file first, for a witness of this name.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that the log continues the last checkpoint seen, keep the new one, and cosign it with --key.

    STATE then holds the log's checkpoint with the cosignature. If the log was forked or rolled back, the exit
    code is 1 and both signed notes are kept as evidence.

    Example: medsecure index witness index/ --state seen.note --key witness.key --new-key example.org/w1
    """
    from stages.index.reader import open_reader
    from stages.index.witness import EquivocationError, load_witness_key, new_witness_key
    from stages.index.witness import witness as see

    if name is not None and key is None:
        raise OperatorError("--new-key needs --key, the file to make")
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
        since = (
            "seen for the first time"
            if before is None
            else f"continues the checkpoint of {before.size:,} records"
        )
        sentence = f"{reader.size:,} records, root {reader.root.hex()}: {since}"
    if as_json:
        emit(document)
    else:
        typer.echo(sentence)
    raise typer.Exit(int(not document["ok"]))


def log_keys(files: Sequence[Path]) -> tuple[LogKey, ...]:
    """The keys in these public key files."""
    from stages.index.verifier import NoteError, parse_keys

    try:
        return tuple(one for file in files for one in parse_keys(file.read_text()))
    except (UnicodeDecodeError, NoteError) as error:
        raise OperatorError(
            f"{', '.join(map(str, files))}: not a file of a log's public keys: {error}"
        ) from error
    except OSError as error:
        raise OperatorError(f"cannot read {error.filename}: {error.strerror}") from error


def _facts(verified: VerifiedProof) -> dict[str, object]:
    """The facts that a proof shows; ``key`` stands beside ``record_id`` until 1.0."""
    facts = verified.facts()
    return {**facts, "record_id": facts["key"]} if "key" in facts else facts


def _of_record(reader: Reader, record_id: bytes) -> Proof | ErasureProof | KeyProof:
    index = reader.find(record_id)
    if index is None and (erased := reader.find_erased(record_id)) is not None:
        return reader.prove_erasure(erased)
    if index is None:
        absence = reader.prove_key(record_id)
        if absence.index is None:
            return absence
        index = absence.index  # erased after the checkpoint, or the cache is wrong
    return reader.prove(index)


def _with_note(file: Path, use: Callable[[bytes], T]) -> T:
    from stages.index.verifier import NoteError

    try:
        return use(file.read_bytes())
    except OSError as error:
        raise OperatorError(f"cannot read {file}: {error.strerror}") from error
    except NoteError as error:
        raise OperatorError(f"{file} is not a checkpoint of this log: {error}") from error


def _sentence(facts: dict[str, object]) -> str:
    log = f"the log of {facts['size']:,} records"
    match facts["claim"]:
        case "growth":
            return f"{log} begins with the same {facts['old_size']:,} records as before"
        case "absence":
            return f"none of the first {facts['as_of']:,} records of {log} has record id {facts['key']}"
        case "erasure":
            when = str(facts["erased_at"])[:19].replace("T", " ")
            return (
                f"record {facts['index']:,} of {log} has record id {facts['key']} and was erased on {when} "
                f"UTC, by entry {facts['erased_by']:,}; cause: {facts['cause']}"
            )
        case _:
            return f"record {facts['index']:,} of {log} has record id {facts['key']}"
