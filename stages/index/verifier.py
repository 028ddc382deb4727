"""Checks a log's proofs with only its public keys. An auditor needs no other file of the product.

    python verifier.py FILE --key checkpoint.pub [--key witness.pub]

It imports the standard library and ``cryptography``; the writer imports its hashing and parsing, never the
other way round. Trees are those of RFC 6962, the checks on them RFC 9162's (2.1.3.2, 2.1.4.2); notes,
checkpoints and inclusion proofs are C2SP's (signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof);
docs/index.md describes the key tree and the other kinds of proof file.

Parsing is strict: bytes that our writer cannot produce are refused, so no two byte sequences mean the same.
Every fault of an input raises a ``ProofError``.
"""

from __future__ import annotations

import argparse
import binascii
import json
import re
import struct
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256().digest()  # of a log without records
EMPTY_KEYS: Final = bytes(HASH_BYTES)  # of a key tree without keys
RECORD: Final = struct.Struct("<BB32sI32s32s32s32s")  # a leaf record; see docs/index.md
RECORD_KIND: Final = (1, 1)  # version, kind: an encrypted record
ERASURE_ENTRY: Final = struct.Struct("<BB32sQQI")  # the entry by which a record was erased
ERASURE_KIND: Final = (1, 2)
CAUSES: Final = {1: "request", 2: "retention"}  # why a record was erased
KEY_LEAF: Final = struct.Struct(">32sQ")  # SHA-256 of the key, the record's number

ED25519: Final = b"\x01"  # signature types of c2sp.org/signed-note
COSIGNATURE: Final = b"\x04"  # Ed25519 with a time, c2sp.org/tlog-cosignature
ML_DSA_44: Final = b"\xffmedsecure-u/ml-dsa-44"  # FIPS 204 over the note's text; why not 0x06: ADR 6
TIME_BYTES: Final = 8  # POSIX seconds before a cosignature
_PUBLIC_BYTES: Final = {ED25519: 32, COSIGNATURE: 32, ML_DSA_44: 1312}

INCLUSION: Final = "c2sp.org/tlog-proof@v1"
GROWTH: Final = "medsecure-u/growth-proof@v1"
KEY: Final = "medsecure-u/key-proof@v1"
ERASURE: Final = "medsecure-u/erasure-proof@v1"
KEYS_LINE: Final = "medsecure-u/keys"
MODEL_LINE: Final = "medsecure-u/model"

_KEY_ID_BYTES: Final = 4
_MAX_NOTE_BYTES: Final = 1 << 17  # sixteen post-quantum signatures fit
_MAX_BYTES: Final = 1 << 19
_MAX_SIZE: Final = 1 << 63
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_TIME_MS: Final = 253_402_300_800_000  # the year 10000
_BITS: Final = 8 * HASH_BYTES
_NAME: Final = re.compile(r"[^\s+\x00-\x20]+")
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_VKEY: Final = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)")


class ProofError(ValueError):
    """A proof file that is malformed, or that does not prove its claim."""


class NoteError(ProofError):
    """A note, checkpoint or key that is malformed, or not signed by the expected keys."""


# Trees


def leaf_hash(record: bytes) -> bytes:
    """The hash of one leaf of the log."""
    return sha256(b"\x00" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node of the log's tree."""
    return sha256(b"\x01" + left + right).digest()


def key_leaf_hash(leaf: bytes) -> bytes:
    """The hash of a key tree's subtree with one key, however deep: of its 40 bytes, see ``KEY_LEAF``."""
    return sha256(b"\x02" + leaf).digest()


def key_node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a key tree's subtree with several keys."""
    return sha256(b"\x03" + left + right).digest()


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf with this hash is number ``index`` under the root of a log of ``size``."""
    if not 0 <= index < size or not _are_hashes(leaf, root, *path):
        return False
    fn, sn, r = index, size - 1, leaf  # the names of RFC 9162
    for p in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            fn, sn = _up_to_right_child(fn, sn)
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == root


def path_length(index: int, size: int) -> int:
    """How many hashes the inclusion path of leaf number ``index`` has in a log of ``size``."""
    below = (index ^ (size - 1)).bit_length()  # levels at which it and the log's last leaf part
    return below + (index >> below).bit_count()


def verify_consistency(old: int, new: int, path: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Whether the log of ``new`` under new_root begins with the log of ``old`` under old_root."""
    if not 0 <= old <= new or not _are_hashes(old_root, new_root, *path):
        return False
    if old == new:
        return not path and old_root == new_root
    if old == 0:
        return not path and old_root == EMPTY_ROOT
    if old & (old - 1) == 0:  # a power of two: the old root itself is the first node
        path = (old_root, *path)
    if not path:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            fn, sn = _up_to_right_child(fn, sn)
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == old_root and sr == new_root


def verify_key(key: bytes, leaf: bytes, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the way of SHA-256(key) through the key tree of this root ends at ``leaf``.

    The leaf is its 40 bytes, or none where the way ends at an empty place; the path begins at its sibling.
    The key is there if the leaf is its own, and is not if it is another's or none: each bit of the hash
    takes one turn, and a subtree with one key has no further turns.
    """
    depth = len(path)
    if depth > _BITS or len(leaf) not in {0, KEY_LEAF.size} or not _are_hashes(root, *path):
        return False
    way = int.from_bytes(sha256(key).digest(), "big")
    if leaf and (int.from_bytes(leaf[:HASH_BYTES], "big") ^ way) >> (_BITS - depth):
        return False  # the leaf is on another way
    node = key_leaf_hash(leaf) if leaf else EMPTY_KEYS
    for level, sibling in enumerate(path, _BITS - depth):
        node = key_node_hash(sibling, node) if way >> level & 1 else key_node_hash(node, sibling)
    return node == root


def _up_to_right_child(fn: int, sn: int) -> tuple[int, int]:
    """Skip levels at which the right edge has no sibling."""
    while fn and not fn & 1:
        fn, sn = fn >> 1, sn >> 1
    return fn, sn


def _are_hashes(*hashes: bytes) -> bool:
    return all(len(one) == HASH_BYTES for one in hashes)


# Notes


@dataclass(frozen=True, slots=True)
class LogKey:
    """A named public key of one signature type."""

    name: str
    kind: bytes
    public: bytes

    @property
    def key_id(self) -> bytes:
        """What a signature line begins with."""
        return sha256(self.name.encode() + b"\n" + self.kind + self.public).digest()[:_KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        """The key as one line: name+id+key."""
        return f"{self.name}+{self.key_id.hex()}+{b64encode(self.kind + self.public).decode()}"

    def verify(self, signature: bytes, text: bytes) -> bool:
        """Whether this key signed the text."""
        try:
            if self.kind == ML_DSA_44:
                MLDSA44PublicKey.from_public_bytes(self.public).verify(signature, text)
                return True
            if self.kind == COSIGNATURE:
                time_s = int.from_bytes(signature[:TIME_BYTES], "big")
                signature, text = signature[TIME_BYTES:], cosigned_text(text, time_s)
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except InvalidSignature:
            return False
        except UnsupportedAlgorithm as error:
            raise NoteError("this installation of cryptography cannot check ML-DSA-44") from error
        return True


@dataclass(frozen=True, slots=True)
class KeyRoot:
    """The root of the key tree over the log's first ``size`` records."""

    size: int = 0
    root: bytes = EMPTY_KEYS


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's identity, size and root hash, and what else it states of itself."""

    origin: str
    size: int
    root: bytes
    keys: KeyRoot | None = None  # when it last was brought up to date; None where the note has no such line
    model: bytes | None = None  # SHA-256 of the weights that the features are of; None likewise

    @property
    def text(self) -> str:
        """The note's text."""
        lines = [self.origin, str(self.size), b64encode(self.root).decode()]
        if self.keys is not None:
            lines.append(f"{KEYS_LINE} {self.keys.size} {b64encode(self.keys.root).decode()}")
        if self.model is not None:
            lines.append(f"{MODEL_LINE} {b64encode(self.model).decode()}")
        return "\n".join(lines) + "\n"


def contradiction(old: Checkpoint, new: Checkpoint) -> str | None:
    """What a later checkpoint of a log states that an earlier one does not allow, beside its tree."""
    if old.model not in (None, new.model):
        return "another model than it did"
    if old.keys is not None:
        if new.keys is None or new.keys.size < old.keys.size:
            return "an older key tree than it did"
        if new.keys.size == old.keys.size and new.keys.root != old.keys.root:
            return "another key tree than it did"
    return None


def cosigned_text(text: bytes, time_s: int) -> bytes:
    """What a witness signs, as c2sp.org/tlog-cosignature has it."""
    return f"cosignature/v1\ntime {time_s}\n".encode() + text


def parse_keys(text: str) -> tuple[LogKey, ...]:
    """The keys of a public key file: one ``name+id+key`` a line."""
    return tuple(_parse_vkey(line) for line in text.removesuffix("\n").split("\n"))


def _parse_vkey(text: str) -> LogKey:
    match = _VKEY.fullmatch(text)
    if match is None or _NAME.fullmatch(match[1]) is None or not text.isprintable():
        raise NoteError("this is no verifier key of the form name+id+key")
    data = decode_base64(match[3])
    for kind, public_bytes in _PUBLIC_BYTES.items():
        if data.startswith(kind) and len(data) == len(kind) + public_bytes:
            key = LogKey(match[1], kind, data[len(kind) :])
            if key.key_id.hex() == match[2]:
                return key
            raise NoteError("the verifier key is damaged: its id does not match")
    raise NoteError("the verifier key is of no known type: Ed25519, its cosignature, or ML-DSA-44")


@lru_cache(32)
def open_note(data: bytes, keys: tuple[LogKey, ...]) -> str:
    """The note's text, once the signature of every one of the keys on it has been checked."""
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
    signed = {_signer(line, text, keys) for line in signatures[:-1].split("\n")}
    for key in keys:
        if key not in signed:
            raise NoteError(f"the note is not signed by {key.name} with key {key.key_id.hex()}")
    return text


def _signer(line: str, text: str, keys: tuple[LogKey, ...]) -> LogKey | None:
    """The key of a signature line; None if unknown, as demanded. Raises NoteError for a wrong one."""
    dash, *rest = line.split(" ")
    if dash != "\u2014" or len(rest) != 2 or _NAME.fullmatch(rest[0]) is None:  # noqa: PLR2004 - name, signature
        raise NoteError("a signature line of the note is malformed")
    signature = decode_base64(rest[1])
    if len(signature) <= _KEY_ID_BYTES:
        raise NoteError("a signature of the note is too short")
    for key in keys:
        if (rest[0], signature[:_KEY_ID_BYTES]) == (key.name, key.key_id):
            if not key.verify(signature[_KEY_ID_BYTES:], text.encode()):
                raise NoteError(f"the signature of {key.name} is wrong")
            return key
    return None


def open_checkpoint(data: bytes, keys: tuple[LogKey, ...]) -> Checkpoint:
    """The checkpoint in a note signed by its log, and cosigned by the witnesses among the keys."""
    origin, *lines = open_note(data, keys).split("\n")
    if {key.name for key in keys if key.kind != COSIGNATURE} != {origin}:
        raise NoteError(f"the checkpoint is of {origin}, and not all keys are")
    if len(lines) < 3 or lines[-1]:  # noqa: PLR2004 - size, root, and the end
        raise NoteError("a checkpoint is origin, size, root and what else the log states")
    size, root, stated = parse_decimal(lines[0]), _hash(lines[1]), [line.split(" ") for line in lines[2:-1]]
    keys_root, model = None, None
    if stated and stated[0][0] == KEYS_LINE and len(stated[0]) == 3:  # noqa: PLR2004 - label, size, root
        _, keys_size, keys_root_text = stated.pop(0)
        keys_root = KeyRoot(parse_decimal(keys_size), _hash(keys_root_text))
        if keys_root.size > size:
            raise NoteError("the checkpoint's key tree has more records than its log")
    if stated and stated[0][0] == MODEL_LINE and len(stated[0]) == 2:  # noqa: PLR2004 - label, digest
        model = _hash(stated.pop(0)[1])
    if stated:
        raise NoteError("a line of the checkpoint is unknown")
    return Checkpoint(origin, size, root, keys_root, model)


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


def _hash(text: str) -> bytes:
    data = decode_base64(text)
    if len(data) != HASH_BYTES:
        raise NoteError("a field is not a SHA-256 hash")
    return data


# Proof files


@dataclass(frozen=True, slots=True)
class Erased:
    """The content of a log entry about an erased record."""

    entry: int  # its own number
    time_ms: int  # of the erasure, by the writer's clock, since 1970 UTC
    cause: str

    @property
    def time(self) -> str:
        """The time of the erasure in ISO 8601."""
        return (_EPOCH + timedelta(milliseconds=self.time_ms)).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class VerifiedProof:
    """The claim of a valid proof about the log at this checkpoint.

    inclusion: ``record`` is its record number ``index``, and has this key.
    erasure: the same, and a later entry states that it was ``erased``.
    presence, absence: of its first ``checkpoint.keys.size`` records, number ``index`` or none has this key.
    growth: the log begins with the log of the earlier checkpoint ``old``.
    """

    claim: str
    checkpoint: Checkpoint
    key: bytes = b""
    index: int | None = None
    record: bytes = b""
    old: Checkpoint | None = None
    erased: Erased | None = None

    def facts(self) -> dict[str, object]:
        """The same for JSON."""
        size, keys = self.checkpoint.size, self.checkpoint.keys
        facts: dict[str, object] = {"claim": self.claim, "origin": self.checkpoint.origin, "size": size}
        facts["root"] = self.checkpoint.root.hex()
        if self.key:
            facts["key"] = self.key.hex()
        if self.index is not None:
            facts["index"] = self.index
        if self.claim in {"presence", "absence"} and keys is not None:
            facts["as_of"] = keys.size
        if self.old is not None:
            facts["old_size"], facts["old_root"] = self.old.size, self.old.root.hex()
        if self.erased is not None:
            facts["erased_by"], facts["erased_at"] = self.erased.entry, self.erased.time
            facts["cause"] = self.erased.cause
        return facts


def verify_proof(data: bytes, keys: tuple[LogKey, ...]) -> VerifiedProof:
    """Check a proof file; the result holds for the log of these keys. Raises ``ProofError``."""
    if len(data) > _MAX_BYTES:
        raise ProofError("the proof is too long")
    before, blank, note = data.partition(b"\n\n")
    try:
        kind, *lines = before.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise ProofError("the proof is not text") from error
    if not blank or kind not in _KINDS:
        raise ProofError("this is no proof file: its first line is of no known kind, or it has no checkpoint")
    labels, check = _KINDS[kind]
    head, path = lines[: len(labels)], lines[len(labels) :]
    if len(head) < len(labels) or not all(map(str.startswith, head, (f"{label} " for label in labels))):
        raise ProofError(f"the proof does not begin with its lines {' and '.join(labels)}")
    fields = [line.partition(" ")[2] for line in head]
    return check(fields, [_hash(line) for line in path], open_checkpoint(note, keys), keys)


def _inclusion(fields: list[str], path: list[bytes], log: Checkpoint, _: tuple[LogKey, ...]) -> VerifiedProof:
    record, index = decode_base64(fields[0]), parse_decimal(fields[1])
    return VerifiedProof("inclusion", log, _included(record, index, path, log), index, record)


def _included(record: bytes, index: int, path: list[bytes], log: Checkpoint) -> bytes:
    """The key of a record that is in the log."""
    if not verify_inclusion(leaf_hash(record), index, log.size, path, log.root):
        raise ProofError("the proof does not hold: its path does not lead from the record to the root")
    if len(record) != RECORD.size or RECORD.unpack(record)[:2] != RECORD_KIND:
        raise ProofError("the proof is of a record of an unknown version or kind")
    key: bytes = RECORD.unpack(record)[2]
    return key


def _erasure(fields: list[str], path: list[bytes], log: Checkpoint, _: tuple[LogKey, ...]) -> VerifiedProof:
    record, index = decode_base64(fields[0]), parse_decimal(fields[1])
    entry, place = decode_base64(fields[2]), parse_decimal(fields[3])
    own = path_length(index, log.size) if index < log.size else 0
    key = _included(record, index, path[:own], log)
    if not verify_inclusion(leaf_hash(entry), place, log.size, path[own:], log.root):
        raise ProofError("the proof does not hold: its path does not lead from the erasure to the root")
    if len(entry) != ERASURE_ENTRY.size or ERASURE_ENTRY.unpack(entry)[:2] != ERASURE_KIND:
        raise ProofError("the proof's erasure is of an unknown version or kind")
    _, _, *erased, time_ms, cause = ERASURE_ENTRY.unpack(entry)
    if erased != [key, index] or place <= index:
        raise ProofError("the proof does not hold: its erasure is not one of its record")
    if cause not in CAUSES or time_ms >= _MAX_TIME_MS:
        raise ProofError("the proof's erasure is of an unknown cause or time")
    return VerifiedProof("erasure", log, key, index, record, erased=Erased(place, time_ms, CAUSES[cause]))


def _growth(fields: list[str], path: list[bytes], log: Checkpoint, keys: tuple[LogKey, ...]) -> VerifiedProof:
    old = open_checkpoint(decode_base64(fields[0]), tuple(key for key in keys if key.kind != COSIGNATURE))
    if (reason := contradiction(old, log)) is not None:
        raise ProofError(f"the proof does not hold: the log states {reason}")
    if not verify_consistency(old.size, log.size, path, old.root, log.root):
        raise ProofError("the proof does not hold: its path does not lead from the old root to the new one")
    return VerifiedProof("growth", log, old=old)


def _key(fields: list[str], path: list[bytes], log: Checkpoint, _: tuple[LogKey, ...]) -> VerifiedProof:
    key, leaf = map(decode_base64, fields)
    if log.keys is None or len(key) != HASH_BYTES or not verify_key(key, leaf, path, log.keys.root):
        raise ProofError(
            "the proof does not hold: its path does not lead from the record id to the key tree's root"
        )
    hashed, index = KEY_LEAF.unpack(leaf) if leaf else (b"", None)
    if hashed == sha256(key).digest():
        return VerifiedProof("presence", log, key, index)
    return VerifiedProof("absence", log, key)


_Verify = Callable[[list[str], list[bytes], Checkpoint, tuple[LogKey, ...]], VerifiedProof]
_KINDS: Final[dict[str, tuple[tuple[str, ...], _Verify]]] = {
    INCLUSION: (("extra", "index"), _inclusion),
    GROWTH: (("old",), _growth),
    KEY: (("key", "leaf"), _key),
    ERASURE: (("record", "index", "erasure", "entry"), _erasure),
}


def main() -> int:
    """Check the file named on the command line; print JSON; exit code 0, or 1 if the proof fails."""
    parser = argparse.ArgumentParser(description="Check a proof of a MedSecure-U log.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--key", type=Path, action="append", required=True, help="a public key file")
    arguments = parser.parse_args()
    try:
        data, texts = arguments.file.read_bytes(), [path.read_text() for path in arguments.key]
        keys = tuple(key for text in texts for key in parse_keys(text))
    except (OSError, UnicodeDecodeError, NoteError) as error:
        parser.error(str(error))
    try:
        document = {"ok": True, **verify_proof(data, keys).facts()}
    except ProofError as error:
        document = {"ok": False, "reason": str(error)}
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return int(not document["ok"])


if __name__ == "__main__":
    sys.exit(main())
