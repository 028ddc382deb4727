"""C2SP signed notes (c2sp.org/signed-note) with Ed25519, and checkpoints (c2sp.org/tlog-checkpoint).

Parsing is strict: whatever this module would not have written is refused, so that no two byte
sequences mean the same. Signatures by unknown keys are ignored, as the specification demands.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519: Final = b"\x01"  # signature type
_ED25519_PUBLIC_BYTES: Final = 32
_KEY_ID_BYTES: Final = 4
_ROOT_BYTES: Final = 32
_MAX_NOTE_BYTES: Final = 1 << 17  # sixteen post-quantum signatures fit
_MAX_SIZE: Final = 1 << 63
_NAME: Final = re.compile(r"[^\s+\x00-\x20]+")
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_VKEY: Final = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)")


class NoteError(ValueError):
    """A note, checkpoint or key that is malformed, or not signed by the expected key."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """A named public key."""

    name: str
    public: bytes  # 32 bytes, RFC 8032

    @property
    def key_id(self) -> bytes:
        """What a signature line begins with."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        """The key as one line: name+id+key."""
        return f"{self.name}+{self.key_id.hex()}+{b64encode(_ED25519 + self.public).decode()}"

    def verify(self, signature: bytes, text: bytes) -> bool:
        """Whether this key signed the text."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's identity, size and root hash."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The note's text."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


def parse_vkey(text: str) -> Verifier:
    """The Ed25519 key of a ``name+id+key`` line."""
    match = _VKEY.fullmatch(text)
    if match is None or _NAME.fullmatch(match[1]) is None or not text.isprintable():
        raise NoteError("this is no verifier key of the form name+id+key")
    key = decode_base64(match[3])
    if key[:1] != _ED25519 or len(key) != 1 + _ED25519_PUBLIC_BYTES:
        raise NoteError("the verifier key is not an Ed25519 key")
    verifier = Verifier(match[1], key[1:])
    if verifier.key_id.hex() != match[2]:
        raise NoteError("the verifier key is damaged: its id does not match")
    return verifier


def sign(text: str, name: str, key: Ed25519PrivateKey) -> bytes:
    """The text as a signed note."""
    verifier = Verifier(name, key.public_key().public_bytes_raw())
    signature = b64encode(verifier.key_id + key.sign(text.encode())).decode()
    return f"{text}\n\u2014 {name} {signature}\n".encode()


def open_note(data: bytes, verifier: Verifier) -> str:
    """The note's text, once the verifier's signature on it has been checked."""
    if len(data) > _MAX_NOTE_BYTES:
        raise NoteError("the note is too long")
    try:
        note = data.decode()
    except UnicodeDecodeError as error:
        raise NoteError("the note is not UTF-8") from error
    if any(character < " " and character != "\n" for character in note):
        raise NoteError("the note contains control characters")
    text, blank, signatures = note.rpartition("\n\n")
    if not blank or not signatures.endswith("\n"):
        raise NoteError("the note has no signatures")
    text += "\n"
    signed = [_verified(line, text, verifier) for line in signatures[:-1].split("\n")]
    if not any(signed):
        raise NoteError(f"the note is not signed by {verifier.name} with key {verifier.key_id.hex()}")
    return text


def _verified(line: str, text: str, verifier: Verifier) -> bool:
    """Whether the line is the verifier's signature; another key's is none, a wrong one an error."""
    dash, *rest = line.split(" ")
    if dash != "\u2014" or len(rest) != 2 or _NAME.fullmatch(rest[0]) is None:  # noqa: PLR2004 - name, signature
        raise NoteError("a signature line of the note is malformed")
    signature = decode_base64(rest[1])
    if len(signature) <= _KEY_ID_BYTES:
        raise NoteError("a signature of the note is too short")
    key_id, signature = signature[:_KEY_ID_BYTES], signature[_KEY_ID_BYTES:]
    if (rest[0], key_id) != (verifier.name, verifier.key_id):
        return False
    if not verifier.verify(signature, text.encode()):
        raise NoteError(f"the signature of {verifier.name} is wrong")
    return True


def open_checkpoint(data: bytes, verifier: Verifier) -> Checkpoint:
    """The checkpoint in a note signed by its log. Extension lines are refused: we write none."""
    lines = open_note(data, verifier).split("\n")
    if len(lines) != 4 or lines[3]:  # noqa: PLR2004 - origin, size, root, and what follows the last newline
        raise NoteError("a checkpoint has three lines: origin, size, root")
    origin, size, root = lines[0], parse_decimal(lines[1]), decode_base64(lines[2])
    if len(root) != _ROOT_BYTES:
        raise NoteError("the checkpoint's root is not a SHA-256 hash")
    if origin != verifier.name:
        raise NoteError(f"the checkpoint is of {origin}, its key of {verifier.name}")
    return Checkpoint(origin, size, root)


def parse_decimal(text: str) -> int:
    """A number below 2**63 in ASCII digits without leading zeros."""
    if _DECIMAL.fullmatch(text) is None or int(text) >= _MAX_SIZE:
        raise NoteError("a number is not decimal or too large")
    return int(text)


def decode_base64(text: str) -> bytes:
    """Standard base64, padded and canonical."""
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteError("a field is not base64") from error
    if b64encode(data).decode() != text:
        raise NoteError("a field is not canonical base64")
    return data
