"""What makes a directory an index: its name, its signing key, its format; made once, before any record.

``index.json`` is written last. Without it nothing was ever acknowledged, so an interrupted creation is
begun again. The log's name (the *origin* of its checkpoints) is derived from its key and birth date, so
neither can be changed unnoticed.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from stages.index.durable import publish, staged, sync_files
from stages.index.errors import DamagedError, NotAnIndexError
from stages.index.note import Checkpoint, NoteError, Verifier, open_checkpoint, parse_vkey, sign
from stages.index.tree import EMPTY_ROOT

IDENTITY: Final = "index.json"
SIGNING_KEY: Final = "signing.key"
PUBLIC_KEY: Final = "checkpoint.pub"
CHECKPOINT: Final = "checkpoint"
LOCK: Final = "lock"
STAGING: Final = "staging"
INTENT: Final = "erasing"
_FORMAT: Final = 2
_UNFINISHED: Final = frozenset({SIGNING_KEY, PUBLIC_KEY, CHECKPOINT, LOCK, STAGING})


@dataclass(frozen=True, slots=True)
class Identity:
    """The contents of ``index.json``."""

    origin: str
    created: str  # ISO 8601, UTC

    def encode(self) -> bytes:
        """The file's bytes."""
        fields = {"format": _FORMAT, "origin": self.origin, "created": self.created}
        return json.dumps(fields, indent=2).encode() + b"\n"

    @classmethod
    def of(cls, public: bytes, created: str) -> Identity:
        """The identity of an index with this public key, made at this time."""
        return cls("medsecure/" + sha256(created.encode(errors="replace") + public).hexdigest()[:16], created)


def refuse_foreign(directory: Path) -> None:
    """Refuse to make an index among other files."""
    if directory.is_dir() and not is_index(directory):
        foreign = {path.name for path in directory.iterdir()} - _UNFINISHED
        if foreign:
            raise NotAnIndexError(f"{directory} is not empty and is not an index: it holds {min(foreign)}")


def create(directory: Path, pool: Executor) -> None:
    """Make an empty index in a directory that holds none; the caller has the lock."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    identity = Identity.of(public, datetime.now(UTC).isoformat(timespec="seconds"))
    empty = Checkpoint(identity.origin, 0, EMPTY_ROOT)
    files = [
        (directory / SIGNING_KEY, encode_key(key)),
        (directory / PUBLIC_KEY, Verifier(identity.origin, public).vkey.encode() + b"\n"),
        (directory / CHECKPOINT, sign(empty.text, identity.origin, key)),
        (directory / IDENTITY, identity.encode()),
    ]
    staging = directory / STAGING
    staging.mkdir(exist_ok=True)
    with staged(staging, files) as written:
        os.fchmod(written[0].fd, 0o600)
        sync_files(pool, [file.fd for file in written])
        publish(pool, written[:-1])
        publish(pool, written[-1:])


def encode_key(key: Ed25519PrivateKey) -> bytes:
    """The signing key's file: PKCS #8 in PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def is_index(directory: Path) -> bool:
    """Whether an index was made here."""
    return (directory / IDENTITY).is_file()


def read_identity(directory: Path) -> tuple[Identity, Verifier]:
    """The index's name and public key; they vouch for each other."""
    if not is_index(directory):
        raise NotAnIndexError(f"{directory} is not an index: it has no {IDENTITY}")
    data = (directory / IDENTITY).read_bytes()
    try:
        fields = json.loads(data)
        version, identity = fields["format"], Identity(str(fields["origin"]), str(fields["created"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(IDENTITY, "is damaged") from error
    if version != _FORMAT:
        raise NotAnIndexError(f"{directory} has index format {version}; this program reads format {_FORMAT}")
    verifier = read_public_key(directory)
    if data != identity.encode() or identity != Identity.of(verifier.public, identity.created):
        raise DamagedError(IDENTITY, f"is damaged, or is not that of {PUBLIC_KEY}")
    return identity, verifier


def read_public_key(directory: Path) -> Verifier:
    """The key that the checkpoints are signed with."""
    try:
        line = (directory / PUBLIC_KEY).read_bytes().decode()
        verifier = parse_vkey(line.removesuffix("\n"))
    except (FileNotFoundError, UnicodeDecodeError, NoteError) as error:
        raise DamagedError(PUBLIC_KEY, "is missing or damaged") from error
    if line != verifier.vkey + "\n":
        raise DamagedError(PUBLIC_KEY, "is damaged")
    return verifier


def read_signing_key(directory: Path, verifier: Verifier) -> Ed25519PrivateKey:
    """The private half of the index's key."""
    try:
        data = (directory / SIGNING_KEY).read_bytes()
        key = load_pem_private_key(data, password=None)
    except (FileNotFoundError, ValueError, TypeError, UnsupportedAlgorithm, InternalError) as error:
        raise DamagedError(SIGNING_KEY, "is missing or damaged") from error
    if (
        not isinstance(key, Ed25519PrivateKey)
        or key.public_key().public_bytes_raw() != verifier.public
        or data != encode_key(key)
    ):
        raise DamagedError(SIGNING_KEY, f"is damaged, or is not that of {PUBLIC_KEY}")
    return key


def read_checkpoint(directory: Path, verifier: Verifier) -> tuple[Checkpoint, bytes]:
    """The log's signed size and root, verified, and the note they stand in."""
    try:
        note = (directory / CHECKPOINT).read_bytes()
        return open_checkpoint(note, verifier), note
    except (FileNotFoundError, NoteError) as error:
        reason = f": {error}" if isinstance(error, NoteError) else ""
        raise DamagedError(CHECKPOINT, f"is missing or damaged{reason}") from error
