"""Commands for the key holder: open records, search."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import Directory, Json, PassphraseFile, RecordId, emit, find, opened, show
from pipeline.cli.options import Config, settings
from stages.errors import OperatorError

if TYPE_CHECKING:
    from pipeline.queries import search as query
    from stages.encrypt.keys.folder import OwnerKeys
    from stages.index.reader import Reader

Secret = Annotated[
    Path, typer.Option("--secret", help="owner.key, or its folder, which opens all generations.")
]


def get(
    directory: Directory,
    record_id: RecordId,
    secret: Secret,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Open one record with the owner's key: its identity and its feature vector.

    Example: medsecure index get index/ 3f…e1 --secret keys/owner
    """
    import numpy as np

    from stages.encrypt.keys.opening import open_sealed
    from stages.encrypt.keys.owner import decrypt
    from stages.encrypt.lwe.wire import decode_header
    from stages.index.reader import open_reader

    reader = open_reader(directory)
    record = reader.record(find(reader, record_id))
    header = decode_header(record.header)
    owner = open_owners(secret, passphrase_file).get(header.key_id)
    if owner is None:
        raise OperatorError(
            f"record {record_id} is under key {header.key_id.hex()[:16]}, which {secret} does not hold: "
            "give the folder with the retired keys"
        )
    position = np.array([record.position], np.uint32)
    numbers_1D = decrypt(owner.lwe, header, record.head_Dn, record.column_D[None, :], position)
    document = {
        "record_id": record_id,
        "key": record_id,
        "index": record.index,
        "identity": json.loads(open_sealed(owner, record.sealed, aad=record.key)),
        "feature": (numbers_1D[0] / header.scale).round(6).tolist(),
    }
    if as_json:
        emit(document)
    else:
        show(f"Record {record.index}", ("attribute", "value"), sorted(document["identity"].items()))


def search(
    directory: Directory,
    secret: Secret,
    image: Annotated[
        Path | None, typer.Option("--image", help="An image of any format that the stream reads.")
    ] = None,
    vector: Annotated[Path | None, typer.Option("--vector", help="A feature vector: JSON or .npy.")] = None,
    frame: Annotated[
        int | None,
        typer.Option("--frame", help="The frame of the image, from 0 (default: the middle one).", min=0),
    ] = None,
    top: Annotated[int, typer.Option("--top", help="The number of records to return.", min=1)] = 10,
    replicas: Annotated[
        tuple[str, str] | None,
        typer.Option("--private", metavar="URL URL", help="Query two replicas; neither learns the query."),
    ] = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", help="The authority that signed the replicas' certificates, PEM.")
    ] = None,
    answers: Annotated[
        Path | None, typer.Option("--answers", help="Write the answers to this file, for an audit.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Find the records most similar to an image; scores are computed on ciphertexts.

    With --private the folder is your own copy of the log, without segments. Requests to the replicas carry
    MEDSECURE_TOKEN if it is set.

    Example: medsecure index search index/ --secret keys/owner --image study/0012.dcm
    """
    from pipeline.queries import search as query
    from pipeline.queries import vector as vectors
    from stages.index.reader import open_reader
    from stages.index.store.identity import refuse_other_model
    from stages.segment.checkpoint import describe

    if (image is None) == (vector is None):
        raise vectors.VectorError("give either --image or --vector")
    reader = open_reader(directory)
    owners = open_owners(secret, passphrase_file)
    if image is not None:
        chosen = settings(config)
        weights = describe(chosen.segment.weights)
        weights.refuse_other_recipe(chosen.preprocess)
        refuse_other_model(directory, reader.model, bytes.fromhex(weights.digest))
        feature_D = vectors.describe_image(image, frame, chosen)
    else:
        feature_D = vectors.read_vector(vector or Path())
    with _source(reader, owners, replicas, ca, answers) as source:
        result = query.search(reader, owners, feature_D, top, source)
    if as_json:
        emit([hit.as_json() for hit in result.hits])
    else:
        show_hits(result.hits)
    report_left_out(result, as_json)


@contextmanager
def _source(
    reader: Reader,
    owners: dict[bytes, OwnerKeys],
    urls: tuple[str, str] | None,
    ca: Path | None,
    answers: Path | None,
) -> Iterator[query.Scorer]:
    """The scorer: the index here, or two replicas."""
    from pipeline.queries import replicas
    from pipeline.queries import search as query
    from pipeline.queries.transcript import recording

    access = replicas.Access(os.environ.get("MEDSECURE_TOKEN") or None, ca)
    with ExitStack() as stack:
        transcript = None
        if answers is not None:
            transcript = stack.enter_context(recording(answers, reader.checkpoint))
        if urls is None:
            yield query.Direct(reader, owners, transcript)
        else:
            yield stack.enter_context(replicas.replicas(urls, reader, access, transcript))


def report_left_out(result: query.SearchResult, as_json: bool) -> None:
    """Name on stderr the blocks that were not searched: one JSON line, or a sentence for each."""
    closed, damaged = [asdict(one) for one in result.closed], [asdict(one) for one in result.unscored]
    stated = {name: some for name, some in (("unreadable", closed), ("damaged", damaged)) if some}
    if as_json:
        if stated:
            typer.echo(json.dumps(stated), err=True)
        return
    for block in result.unscored:
        typer.echo(
            f"{block.records:,} records from number {block.first_index:,} on were not searched: "
            f"{block.reason}",
            err=True,
        )
    for one in result.closed:
        typer.echo(
            f"{one.records:,} records in {one.blocks:,} blocks were not searched: they are under key "
            f"{one.key_id[:16]}, which --secret does not hold",
            err=True,
        )


def show_hits(hits: Sequence[query.Hit]) -> None:
    """The answer as a table."""
    rows = [(place, hit.score, hit.index, hit.key, hit.proof_ok) for place, hit in enumerate(hits, start=1)]
    show("Most similar", ("", "cosine", "record", "record id", "proven"), rows)


def open_owners(secret: Path, passphrase_file: Path | None) -> dict[bytes, OwnerKeys]:
    """The owner's keys by key id; prompts for a passphrase only where one protects them."""
    from stages.encrypt.keys.folder import load_owners

    return opened(lambda given: load_owners(secret, given), passphrase_file)
