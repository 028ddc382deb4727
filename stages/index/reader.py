"""Readers: many, without a lock, each pinned to the signed checkpoint it was opened at.

What a reader hands out has been checked against that checkpoint: ``record`` and ``prove`` up to the
signed root, ``blocks`` against the SHA-256 the writer noted (enough for a search, whose hits are then
taken from ``record``). A writer may append meanwhile: nothing below the checkpoint ever changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.index.errors import DamagedError
from stages.index.identity import PUBLIC_KEY, read_checkpoint, read_identity
from stages.index.leaf import Leaf
from stages.index.lookup import peek
from stages.index.manifest import Manifest
from stages.index.note import Checkpoint, Verifier
from stages.index.proof import Proof
from stages.index.segments import Block, Segments
from stages.index.tiles import Tiles
from stages.index.tree import consistency_path, inclusion_path, leaf_hash, verify_inclusion


@dataclass(frozen=True, slots=True)
class Record:
    """One record, verified up to the signed root."""

    index: int
    key: bytes
    position: int  # its row in the block as encrypted: LWE slot = header's slot + position
    header: bytes
    head_Dn: NDArray[np.uint32]
    column_D: NDArray[np.uint32]
    sealed: bytes
    leaf: Leaf


class Reader:
    """The log as it was at one checkpoint; made by ``open_reader``."""

    def __init__(self, directory: Path, verifier: Verifier, checkpoint: Checkpoint, note: bytes) -> None:
        self._directory = directory
        self._verifier = verifier
        self._checkpoint = checkpoint
        self._note = note
        self._tiles = Tiles(directory, checkpoint.size)
        self._manifest = Manifest(directory, checkpoint.size)
        self._segments = Segments(directory)

    @property
    def size(self) -> int:
        """Records in the log."""
        return self._checkpoint.size

    @property
    def root(self) -> bytes:
        """The log's root hash."""
        return self._checkpoint.root

    @property
    def checkpoint(self) -> bytes:
        """The signed note that says so."""
        return self._note

    @property
    def vkey(self) -> str:
        """The public key of the log, for those who verify proofs."""
        return self._verifier.vkey

    def keys(self) -> Iterator[bytes]:
        """The key of every record, in log order."""
        return self._tiles.keys()

    def find(self, key: bytes) -> int | None:
        """The index of the record with this key: from the cache where it helps, else by looking through."""
        index, known = peek(self._directory, key)
        if index is not None:
            if index >= self.size:
                return None  # appended after this reader's checkpoint
            if self._tiles.key(index) == key:
                return index
            known = 0  # the cache is wrong
        return next((i for i, other in enumerate(self._tiles.keys(known), known) if other == key), None)

    def blocks(self) -> Iterator[Block]:
        """All records, block by block, as views of the mapped files; drop each to bound memory."""
        return (self._segments.block(extent) for extent in self._manifest)

    def record(self, index: int) -> Record:
        """One record, every byte of it checked against the signed root."""
        proof = self.prove(index)
        extent = self._manifest[self._manifest.find(index)]
        block = self._segments.block(extent)
        row = index - block.first_index
        leaf = block.leaf(row)
        if leaf.encode() != proof.record:
            raise DamagedError(extent.file, f"does not hold record {index} ({leaf.key.hex()}) as committed")
        return Record(
            index,
            leaf.key,
            leaf.position,
            block.header,
            block.head_Dn,
            block.columns_ND[row],
            block.sealed[row],
            leaf,
        )

    def prove(self, index: int) -> Proof:
        """The proof that a record is in the log; it holds, or this raises."""
        if not 0 <= index < self.size:
            raise IndexError(f"the index has {self.size} records; there is no record {index}")
        record = self._tiles.record(index)
        path = inclusion_path(index, self.size, self._tiles.node)
        if not verify_inclusion(leaf_hash(record), index, self.size, path, self.root):
            raise DamagedError("tile", f"is damaged on the way from record {index} to the root")
        return Proof(index, record, path, self._note)

    def prove_growth(self, old_size: int) -> tuple[bytes, ...]:
        """The consistency path from the log of an earlier checkpoint to this one."""
        return consistency_path(old_size, self.size, self._tiles.node)


def open_reader(directory: Path, vkey: str | None = None) -> Reader:
    """The log at its latest checkpoint, verified under the given key or else under the index's own."""
    _, verifier = read_identity(directory)
    if vkey is not None and vkey != verifier.vkey:
        raise DamagedError(PUBLIC_KEY, f"is not {vkey}")
    checkpoint, note = read_checkpoint(directory, verifier)
    return Reader(directory, verifier, checkpoint, note)
