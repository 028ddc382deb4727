"""What only the key holder may ask of an index: opening records and scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from pipeline import query
from pipeline.cli.console import Directory, Json, Key, emit, find, passphrase, show, stderr
from pipeline.cli.options import Config, settings
from pipeline.lineage import check_model
from stages.encrypt.keys import OwnerKeys, PassphraseNeededError, load_owner
from stages.encrypt.owner import decrypt
from stages.encrypt.sealing import open_sealed
from stages.encrypt.wire import decode_header
from stages.index.reader import open_reader
from stages.segment.checkpoint import describe

Secret = Annotated[Path, typer.Option("--secret", help="owner.key, or the key folder.")]


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
    record = reader.record(find(reader, key))
    owner = open_owner(secret)
    header = decode_header(record.header)
    position = np.array([record.position], np.uint32)
    numbers_1D = decrypt(owner.lwe, header, record.head_Dn, record.column_D[None, :], position)
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
        chosen = settings(config)
        check_model(directory, describe(chosen.segment.weights).digest)
        feature_D = query.describe_image(image, frame, chosen)
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


def open_owner(secret: Path) -> OwnerKeys:
    """The owner's keys; the passphrase is asked for only where there is one."""
    try:
        return load_owner(secret, None)
    except PassphraseNeededError:
        return load_owner(secret, passphrase())
