"""The proof files that ``verifier`` checks, as the writer's side makes them; docs/index.md describes them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from stages.index.verifier import ERASURE, GROWTH, INCLUSION, KEY, KEY_LEAF


@dataclass(frozen=True, slots=True)
class Proof:
    """That a record is in the log (c2sp.org/tlog-proof): its place, and the way to a signed checkpoint.

    The leaf record travels in the ``extra`` line, which the format leaves unauthenticated: here the path
    authenticates it, since its hash is where the path begins.
    """

    index: int
    record: bytes
    path: tuple[bytes, ...]  # from the leaf's sibling up
    note: bytes  # the checkpoint

    def encode(self) -> bytes:
        """The proof file's bytes."""
        return _file(INCLUSION, (f"extra {_text(self.record)}", f"index {self.index}"), self.path, self.note)


@dataclass(frozen=True, slots=True)
class ErasureProof:
    """Proves that a record is in the log and that a later entry erases it: two proofs at one checkpoint."""

    record: Proof
    erasure: Proof

    def encode(self) -> bytes:
        """The proof file's bytes. Size and index determine where the second path begins."""
        lines = (
            f"record {_text(self.record.record)}",
            f"index {self.record.index}",
            f"erasure {_text(self.erasure.record)}",
            f"entry {self.erasure.index}",
        )
        return _file(ERASURE, lines, (*self.record.path, *self.erasure.path), self.record.note)


@dataclass(frozen=True, slots=True)
class GrowthProof:
    """That the log only grew between two checkpoints."""

    old: bytes  # the earlier checkpoint, as a note
    path: tuple[bytes, ...]
    note: bytes  # the later one

    def encode(self) -> bytes:
        """The proof file's bytes."""
        return _file(GROWTH, (f"old {_text(self.old)}",), self.path, self.note)


@dataclass(frozen=True, slots=True)
class KeyProof:
    """That a key is, or is not, among those of the checkpoint's key tree: what stands at its place there."""

    key: bytes
    leaf: bytes  # the key's own, another's, or none
    path: tuple[bytes, ...]  # from the leaf's sibling up
    note: bytes  # the checkpoint

    @property
    def index(self) -> int | None:
        """The number of the key's record, if it is there."""
        way, index = KEY_LEAF.unpack(self.leaf) if self.leaf else (b"", 0)
        return index if way == sha256(self.key).digest() else None

    def encode(self) -> bytes:
        """The proof file's bytes."""
        return _file(KEY, (f"key {_text(self.key)}", f"leaf {_text(self.leaf)}"), self.path, self.note)


def _file(kind: str, lines: Iterable[str], path: Iterable[bytes], note: bytes) -> bytes:
    return "\n".join((kind, *lines, *map(_text, path))).encode() + b"\n\n" + note


def _text(data: bytes) -> str:
    return b64encode(data).decode()
