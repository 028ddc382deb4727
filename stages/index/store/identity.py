"""What makes a directory an index: its name, its signing keys, its format; made once, before any record.

``index.json`` is written last. Without it nothing was ever acknowledged, so an interrupted creation is
begun again. The log's name (the *origin* of its checkpoints) is derived from its keys and birth date, so
none of them can be changed unnoticed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from stages.files import SECRET
from stages.index.errors import DamagedError, NotAnIndexError, OtherModelError
from stages.index.log.note import NoteSigner, PrivateKey, public_key
from stages.index.store.durable import publish, staged, sync_files
from stages.index.verifier import (
    ED25519,
    EMPTY_ROOT,
    ML_DSA_44,
    Checkpoint,
    KeyRoot,
    LogKey,
    NoteError,
    open_checkpoint,
    parse_keys,
)

IDENTITY: Final = "index.json"
SIGNING_KEY: Final = "signing.key"
PUBLIC_KEY: Final = "checkpoint.pub"
CHECKPOINT: Final = "checkpoint"
LOCK: Final = "lock"
STAGING: Final = "staging"
INTENT: Final = "erasing"
_FORMAT: Final = 2
_SIGNED_WITH: Final = (ED25519, ML_DSA_44)
_BEGIN: Final = b"-----BEGIN "
UNFINISHED: Final = frozenset({SIGNING_KEY, PUBLIC_KEY, CHECKPOINT, LOCK, STAGING})  # of a creation


@dataclass(frozen=True, slots=True)
class Identity:
    """The contents of ``index.json``."""

    format: int
    origin: str
    created: str  # ISO 8601, UTC

    def encode(self) -> bytes:
        """The file's bytes."""
        return json.dumps(asdict(self), indent=2).encode() + b"\n"

    @classmethod
    def of(cls, version: int, public: bytes, created: str) -> Identity:
        """The identity of an index with these public keys, one after the other, made at this time."""
        name = sha256(created.encode(errors="replace") + public).hexdigest()[:16]
        return cls(version, f"medsecure/{name}", created)


def refuse_foreign(directory: Path) -> None:
    """Refuse to make an index among other files."""
    if directory.is_dir() and not is_index(directory):
        foreign = {path.name for path in directory.iterdir()} - UNFINISHED
        if foreign:
            raise NotAnIndexError(f"{directory} is not empty and is not an index: it holds {min(foreign)}")


def create(directory: Path, pool: Executor) -> None:
    """Make an empty index in a directory that holds only ``staging``; the caller has the lock."""
    private = (Ed25519PrivateKey.generate(), MLDSA44PrivateKey.generate())
    public = b"".join(key.public_key().public_bytes_raw() for key in private)
    identity = Identity.of(_FORMAT, public, datetime.now(UTC).isoformat(timespec="seconds"))
    log = NoteSigner(identity.origin, private, KeyRoot())
    secret = [(directory / SIGNING_KEY, encode_keys(private))]
    files = [
        (directory / PUBLIC_KEY, encode_public([public_key(identity.origin, key) for key in private])),
        (directory / CHECKPOINT, log.checkpoint(0, EMPTY_ROOT)),
        (directory / IDENTITY, identity.encode()),
    ]
    staging = directory / STAGING
    staging.mkdir(exist_ok=True)
    with staged(staging, secret, "secret-", SECRET) as hidden, staged(staging, files) as written:
        sync_files(pool, [file.fd for file in (*hidden, *written)])
        publish(pool, [*hidden, *written[:-1]])
        publish(pool, written[-1:])


def encode_keys(keys: Sequence[PrivateKey]) -> bytes:
    """The signing keys' file: PKCS #8 in PEM, one after the other."""
    return b"".join(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for key in keys)


def encode_public(keys: Sequence[LogKey]) -> bytes:
    """The public keys' file."""
    return "".join(f"{key.vkey}\n" for key in keys).encode()


def refuse_other_model(directory: Path, stated: bytes | None, model: bytes) -> None:
    """Refuse features of these weights, a SHA-256, where the checkpoint states others'."""
    if stated not in (None, model):
        raise OtherModelError(
            f"{directory} holds features of weights {stated.hex()[:16]}, these are {model.hex()[:16]}: "
            "they cannot be compared, so use the weights it was made with, or another index"
        )


def is_index(directory: Path) -> bool:
    """Whether an index was made here."""
    return (directory / IDENTITY).is_file()


def read_identity(directory: Path) -> tuple[Identity, tuple[LogKey, ...]]:
    """The index's name and public keys; they vouch for each other."""
    if not is_index(directory):
        raise NotAnIndexError(f"{directory} is not an index: it has no {IDENTITY}")
    data = (directory / IDENTITY).read_bytes()
    try:
        fields = json.loads(data)
        identity = Identity(fields["format"], str(fields["origin"]), str(fields["created"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(IDENTITY, "is damaged") from error
    if identity.format != _FORMAT:
        raise NotAnIndexError(
            f"{directory} has index format {identity.format}; this program reads format {_FORMAT}"
        )
    keys = read_public_keys(directory)
    public = b"".join(key.public for key in keys)
    named = Identity.of(identity.format, public, identity.created)
    if data != identity.encode() or identity != named or tuple(key.kind for key in keys) != _SIGNED_WITH:
        raise DamagedError(IDENTITY, f"is damaged, or is not that of {PUBLIC_KEY}")
    return identity, keys


def read_public_keys(directory: Path) -> tuple[LogKey, ...]:
    """The keys that the checkpoints are signed with, all of them."""
    try:
        data = (directory / PUBLIC_KEY).read_bytes()
        keys = parse_keys(data.decode())
    except (FileNotFoundError, UnicodeDecodeError, NoteError) as error:
        raise DamagedError(PUBLIC_KEY, "is missing or damaged") from error
    if data != encode_public(keys):
        raise DamagedError(PUBLIC_KEY, "is damaged")
    return keys


def read_signing_keys(directory: Path, public: Sequence[LogKey]) -> tuple[PrivateKey, ...]:
    """The private halves of the index's keys."""
    keys = []
    try:
        data = (directory / SIGNING_KEY).read_bytes()
        for one in data.split(_BEGIN)[1:]:
            key = load_pem_private_key(_BEGIN + one, password=None)
            if isinstance(key, PrivateKey):
                keys.append(key)
    except (FileNotFoundError, ValueError, TypeError, UnsupportedAlgorithm, InternalError) as error:
        raise DamagedError(SIGNING_KEY, "is missing or damaged") from error
    halves = [public_key(half.name, key) for half, key in zip(public, keys, strict=False)]
    if halves != list(public) or data != encode_keys(keys):
        raise DamagedError(SIGNING_KEY, f"is damaged, or is not that of {PUBLIC_KEY}")
    return tuple(keys)


def read_checkpoint(directory: Path, keys: tuple[LogKey, ...]) -> tuple[Checkpoint, bytes]:
    """The log's signed size and root, verified, and the note they stand in."""
    try:
        note = (directory / CHECKPOINT).read_bytes()
        return open_checkpoint(note, keys), note
    except (FileNotFoundError, NoteError) as error:
        reason = f": {error}" if isinstance(error, NoteError) else ""
        raise DamagedError(CHECKPOINT, f"is missing or damaged{reason}") from error
