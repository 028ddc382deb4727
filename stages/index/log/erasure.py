"""The log entry that records an erasure: leaf kind 2, 54 bytes; docs/index.md has the table.

The record's own leaf stays, since the tree is over digests. Its bytes may be missing from the index only
where such an entry, later in the log, names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from stages.index.log.leaf import Leaf, LeafError, decode_leaf
from stages.index.verifier import ERASURE_ENTRY, ERASURE_KIND

ERASURE_BYTES: Final = ERASURE_ENTRY.size
_HEAD: Final = bytes(ERASURE_KIND)


class Cause(IntEnum):
    """Why a record was erased; ``verifier.CAUSES`` has the same names."""

    REQUEST = 1  # a person requested it
    RETENTION = 2  # it was kept as long as the rule allows


@dataclass(frozen=True, slots=True)
class Erasure:
    """One record that was erased."""

    key: bytes
    index: int  # the record's place in the log
    time_ms: int  # when, by the writer's clock, since 1970 UTC
    cause: Cause

    def encode(self) -> bytes:
        """The entry's bytes, which the leaf hash is over."""
        return ERASURE_ENTRY.pack(*ERASURE_KIND, self.key, self.index, self.time_ms, self.cause)


def is_erasure(data: bytes) -> bool:
    """Whether the entry of the log records an erasure."""
    return data[:2] == _HEAD


def decode_erasure(data: bytes) -> Erasure:
    """The erasure that these bytes are."""
    if len(data) != ERASURE_BYTES or data[:2] != _HEAD:
        raise LeafError("these bytes are no erasure entry")
    _, _, key, index, time_ms, cause = ERASURE_ENTRY.unpack(data)
    if cause not in set(Cause):
        raise LeafError(f"this version does not support cause {cause} of an erasure")
    return Erasure(key, index, time_ms, Cause(cause))


def decode_entry(data: bytes) -> Leaf | Erasure:
    """The entry of the log that these bytes are."""
    return decode_erasure(data) if is_erasure(data) else decode_leaf(data)
