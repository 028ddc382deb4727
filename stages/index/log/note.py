"""Signs what ``verifier`` reads: C2SP notes and checkpoints, with Ed25519 and ML-DSA-44 side by side."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from stages.index.verifier import (
    COSIGNATURE,
    ED25519,
    ML_DSA_44,
    TIME_BYTES,
    Checkpoint,
    KeyRoot,
    LogKey,
    cosigned_text,
)

PrivateKey = Ed25519PrivateKey | MLDSA44PrivateKey


def public_key(name: str, key: PrivateKey) -> LogKey:
    """The public half, for signatures on notes."""
    kind = ED25519 if isinstance(key, Ed25519PrivateKey) else ML_DSA_44
    return LogKey(name, kind, key.public_key().public_bytes_raw())


def sign(text: str, name: str, keys: Sequence[PrivateKey]) -> bytes:
    """The text as a note signed with each of the keys."""
    lines = [_line(public_key(name, key), key.sign(text.encode())) for key in keys]
    return f"{text}\n{''.join(lines)}".encode()


def witness_key(name: str, key: Ed25519PrivateKey) -> LogKey:
    """The public half, for cosignatures."""
    return LogKey(name, COSIGNATURE, key.public_key().public_bytes_raw())


def cosign(note: bytes, name: str, key: Ed25519PrivateKey, time_s: int) -> bytes:
    """The note with one more line: a cosignature of this time (POSIX seconds) on its text."""
    text = note.rpartition(b"\n\n")[0] + b"\n"
    signature = time_s.to_bytes(TIME_BYTES, "big") + key.sign(cosigned_text(text, time_s))
    return note + _line(witness_key(name, key), signature).encode()


def _line(key: LogKey, signature: bytes) -> str:
    return f"\u2014 {key.name} {b64encode(key.key_id + signature).decode()}\n"


@dataclass(frozen=True, slots=True)
class NoteSigner:
    """Speaks for a log."""

    origin: str
    private: tuple[PrivateKey, ...]
    keys: KeyRoot | None  # re-stated by every checkpoint; None signs no key tree
    model: bytes | None = None  # SHA-256 of the weights; stated likewise

    def checkpoint(self, size: int, root: bytes) -> bytes:
        """The signed checkpoint of the tree of this size and root."""
        return sign(
            Checkpoint(self.origin, size, root, self.keys, self.model).text, self.origin, self.private
        )
