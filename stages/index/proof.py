"""Proofs that a record is in the log, as C2SP tlog-proof files (c2sp.org/tlog-proof).

``verify_proof`` needs the file and the log's public key, nothing else: this module and what it imports
(``tree``, ``note``, ``leaf``) use the standard library and ``cryptography`` only. Malformed input is a
``ProofError``, never another exception. The leaf record travels in the ``extra`` line, which the
format leaves unauthenticated: here the path authenticates it, since its hash is where the path begins.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Final

from stages.index.leaf import Leaf, LeafError, decode_leaf
from stages.index.note import (
    Checkpoint,
    NoteError,
    decode_base64,
    open_checkpoint,
    parse_decimal,
    parse_vkey,
)
from stages.index.tree import HASH_BYTES, leaf_hash, verify_inclusion

_FIRST_LINE: Final = "c2sp.org/tlog-proof@v1"
_EXTRA: Final = "extra "
_INDEX: Final = "index "
_MAX_BYTES: Final = 1 << 18
_MAX_PATH: Final = 63  # a log has fewer than 2**63 records


class ProofError(ValueError):
    """A proof file that is malformed, or that does not prove what it says."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A record, its place in the log and the way from there to a signed checkpoint; unverified."""

    index: int
    record: bytes
    path: tuple[bytes, ...]  # from the leaf's sibling up
    note: bytes  # the checkpoint

    def encode(self) -> bytes:
        """The proof file's bytes."""
        lines = [_FIRST_LINE, _EXTRA + b64encode(self.record).decode(), f"{_INDEX}{self.index}"]
        lines += [b64encode(one).decode() for one in self.path]
        return "\n".join(lines).encode() + b"\n\n" + self.note


@dataclass(frozen=True, slots=True)
class VerifiedLeaf:
    """What a good proof says: this leaf is number ``index`` of the log at this checkpoint."""

    index: int
    leaf: Leaf
    checkpoint: Checkpoint


def decode_proof(data: bytes) -> Proof:
    """The proof that these bytes are, its shape checked and nothing more."""
    if len(data) > _MAX_BYTES:
        raise ProofError("the proof is too long")
    before, blank, note = data.partition(b"\n\n")
    try:
        lines = before.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise ProofError("the proof is not text") from error
    if not blank or lines[0] != _FIRST_LINE:
        raise ProofError(f"this is no proof file: it does not begin with {_FIRST_LINE}, or has no checkpoint")
    if len(lines) < 3 or not lines[1].startswith(_EXTRA) or not lines[2].startswith(_INDEX):  # noqa: PLR2004 - as encoded
        raise ProofError("the proof lacks its record or its index")
    try:
        record = decode_base64(lines[1].removeprefix(_EXTRA))
        index = parse_decimal(lines[2].removeprefix(_INDEX))
        path = tuple(decode_base64(line) for line in lines[3:])
    except NoteError as error:
        raise ProofError(f"the proof is malformed: {error}") from error
    if len(path) > _MAX_PATH or any(len(one) != HASH_BYTES for one in path):
        raise ProofError("the proof's path is too long or holds something that is no hash")
    return Proof(index, record, path, note)


def verify_proof(data: bytes, vkey: str) -> VerifiedLeaf:
    """Check everything; what comes back is in the log that the key belongs to."""
    proof = decode_proof(data)
    try:
        checkpoint = open_checkpoint(proof.note, parse_vkey(vkey))
        leaf = decode_leaf(proof.record)
    except (NoteError, LeafError) as error:
        raise ProofError(f"the proof does not hold: {error}") from error
    hashed = leaf_hash(proof.record)
    if not verify_inclusion(hashed, proof.index, checkpoint.size, proof.path, checkpoint.root):
        raise ProofError("the proof does not hold: its path does not lead from the record to the root")
    return VerifiedLeaf(proof.index, leaf, checkpoint)
