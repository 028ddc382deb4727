"""Write index-FORMAT/: a small index as this version makes it, for every later version to read.

Run from the repository's root: python tests/vectors/make_index.py. A new format gets a folder of its own
beside the earlier ones; a format that is no longer read takes its folder with it.

Keys, randomness and clock are fixed, so that two runs differ in the ML-DSA signatures only, which are
randomised. ``signing.key`` is left out, and written by who needs it (``signing_keys``); so are the cache
and the lock.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline.queries import search as query
from stages.batches import Rows, Sealed
from stages.encrypt.keys import owner as owner_side
from stages.encrypt.keys.folder import Generation, load_owners, new_generation
from stages.encrypt.keys.worker import BlockSigner
from stages.encrypt.lwe.parameters import LWE32
from stages.encrypt.lwe.quantise import quantise_rows, scale_for
from stages.encrypt.lwe.scheme import Encryptor
from stages.encrypt.lwe.wire import decode_header
from stages.files import SECRET, create
from stages.index import publish
from stages.index.erase import erase
from stages.index.log.erasure import Cause
from stages.index.options import IndexOptions
from stages.index.reader import open_reader
from stages.index.session import open_writer
from stages.index.store import identity

VECTORS = Path(__file__).resolve().parent
FORMAT = identity._FORMAT
SEED = bytes(range(32))
ROWS = (40, 217, 5)  # one tile is full and level 1 is begun
ERASED = 41
D = 4
LEFT_OUT = (identity.SIGNING_KEY, identity.STAGING, identity.LOCK, "lookup.*")
OPTIONS = IndexOptions(segment_bytes=50_000)  # the last block begins a second segment


class Fixed(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, _: Any = None) -> datetime:
        """New Year's Day."""
        return datetime(2026, 1, 1, tzinfo=UTC)


def signing_keys() -> tuple[Ed25519PrivateKey, MLDSA44PrivateKey]:
    """The log's own."""
    return Ed25519PrivateKey.from_private_bytes(SEED), MLDSA44PrivateKey.from_seed_bytes(SEED)


@contextmanager
def standing_still() -> Iterator[None]:
    """No randomness and no clock of the machine's; nothing is published but on demand."""
    classic, lattice = signing_keys()
    ticks = count(1_767_225_600_000_000_000, 1_000_000)
    with ExitStack() as stack:
        for target, value in {
            "stages.encrypt.keys.folder.os": SimpleNamespace(urandom=lambda length: SEED[:length]),
            "stages.encrypt.keys.ownerfile.datetime": Fixed,
            "stages.index.store.identity.datetime": Fixed,
            "stages.index.store.identity.Ed25519PrivateKey": SimpleNamespace(generate=lambda: classic),
            "stages.index.store.identity.MLDSA44PrivateKey": SimpleNamespace(generate=lambda: lattice),
            "time.time_ns": lambda: next(ticks),
        }.items():
            stack.enter_context(patch(target, value))
        stack.enter_context(patch.object(publish, "PUBLISH_S", 3600))
        yield


def feature(number: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Of unit length, and of no two records the same."""
    x_D = np.array([np.cos(number), np.sin(number), 0.5 * np.cos(7 * number), 0.5 * np.sin(7 * number)])
    return (x_D / np.linalg.norm(x_D)).astype(np.float32)


def block(encryptor: Encryptor, numbers: range) -> Sealed:
    """The records of these numbers, signed by a worker."""
    scale = scale_for(LWE32, D)
    X_ND, fits_N = quantise_rows(np.stack([feature(number) for number in numbers]), scale)
    assert fits_N.all()
    made = encryptor.encrypt(X_ND, slot=0, scale=scale)
    blank = (b"",) * len(numbers)
    keys = tuple(number.to_bytes(32, "big") for number in numbers)
    rows = Rows(keys, blank, tuple(b"sealed %d" % number for number in numbers), blank)
    sealed = Sealed(rows, made.header.encode(), made.head_Dn, made.columns_ND)
    worker = BlockSigner(Ed25519PrivateKey.from_private_bytes(SEED[::-1]))
    return replace(sealed, signature=worker.sign(sealed))


def write(index: Path, made: Generation) -> None:
    """Three blocks, each published, and an erasure."""
    blocks = count(1)
    encryptor = Encryptor(made.lwe, randomness=lambda length: bytes([next(blocks)]) * length)
    first = 0
    with open_writer(index, OPTIONS, SEED) as writer:
        for rows in ROWS:
            writer.append(block(encryptor, range(first, first + rows)))
            writer.publish()
            first += rows
        erase(writer, {ERASED: ERASED.to_bytes(32, "big")}, Cause.REQUEST)


def answers(folder: Path) -> dict[str, Any]:
    """What a reader finds in the index: log, integers by record, and the records nearest to the first."""
    reader, owners = open_reader(folder / "index"), load_owners(folder / "owner.key", None)
    (keys,) = owners.values()
    plain: dict[str, list[int]] = {}
    for one in reader.blocks():
        X_ND = owner_side.decrypt(
            keys.lwe, decode_header(one.header), one.head_Dn, one.columns_ND, one.positions_N
        )
        plain |= {str(one.first_index + row): X_ND[row].tolist() for row in range(len(one))}
    found = query.search(reader, owners, feature(0), 3)
    return {
        "origin": reader.checkpoint.decode().splitlines()[0],
        "size": reader.size,
        "root": reader.root.hex(),
        "model": reader.model.hex() if reader.model else None,
        "records": plain,
        "hits": [[hit.index, hit.key, round(hit.score, 3)] for hit in found.hits],
    }


def make(folder: Path) -> None:
    """Everything of the golden folder, and what is left out of it."""
    with standing_still():
        made = new_generation(LWE32, None, 14)
        write(folder / "index", made)
    create(folder / "owner.key", made.owner.encode(), SECRET)
    (folder / "answers.json").write_text(json.dumps(answers(folder)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        make(Path(temporary))
        target = VECTORS / f"index-{FORMAT}"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(temporary, target, ignore=shutil.ignore_patterns(*LEFT_OUT))
