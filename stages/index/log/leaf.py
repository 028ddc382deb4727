"""What the log commits to: 166 bytes per record; docs/index.md has them as a table.

A leaf names its content by SHA-256 and holds none of it, so a record can be erased while the tree
stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from stages.index.verifier import RECORD, RECORD_KIND

LEAF_BYTES: Final = RECORD.size
KEY_BYTES: Final = 32
MAX_POSITION: Final = 2**32 - 1


class LeafError(ValueError):
    """Bytes that are no leaf record of a known version and kind."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One record of the log. The four digests are SHA-256 over exact bytes."""

    key: bytes
    position: int  # the record's row in its block as encrypted: LWE slot = header's slot + position
    column: bytes  # of the ciphertext column, little-endian words
    head: bytes  # of the block head C1, little-endian words, row by row
    header: bytes  # of the block's wire header: parameter set, key id, scale
    sealed: bytes  # of the sealed metadata

    def __post_init__(self) -> None:
        if len(self.key) != KEY_BYTES:  # struct would pad it
            raise LeafError(f"a record id has {KEY_BYTES} bytes, not {len(self.key)}")

    @classmethod
    def of(cls, key: bytes, position: int, column: Any, head: Any, header: bytes, sealed: bytes) -> Leaf:
        """The leaf of a record with these bytes; see the fields for their order."""
        return cls(key, position, *(sha256(part).digest() for part in (column, head, header, sealed)))

    def encode(self) -> bytes:
        """The record's bytes, which the leaf hash is over."""
        fields = (self.key, self.position, self.column, self.head, self.header, self.sealed)
        return RECORD.pack(*RECORD_KIND, *fields)


def decode_leaf(data: bytes) -> Leaf:
    """The leaf that these bytes are."""
    if len(data) != LEAF_BYTES:
        raise LeafError(f"a leaf record has {LEAF_BYTES} bytes, not {len(data)}")
    version, kind, *fields = RECORD.unpack(data)
    if (version, kind) != RECORD_KIND:
        raise LeafError(f"this version does not support leaf records of version {version} and kind {kind}")
    return Leaf(*fields)
