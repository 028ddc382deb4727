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

from stages.index.errors import DamagedError, ForkedError, IndexStoreError
from stages.index.identity import CHECKPOINT, PUBLIC_KEY, read_checkpoint, read_identity
from stages.index.keyfile import rebuilt, stored
from stages.index.leaf import Leaf
from stages.index.lookup import peek
from stages.index.manifest import Manifest
from stages.index.proof import GrowthProof, KeyProof, Proof
from stages.index.segments import Block, Segments
from stages.index.tiles import Tiles
from stages.index.tree import consistency_path, inclusion_path
from stages.index.verifier import (
    Checkpoint,
    PublicKey,
    leaf_hash,
    open_checkpoint,
    verify_consistency,
    verify_inclusion,
    verify_key,
)


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

    def __init__(
        self, directory: Path, log: tuple[PublicKey, ...], checkpoint: Checkpoint, note: bytes
    ) -> None:
        self._directory = directory
        self._log = log
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
    def log(self) -> tuple[PublicKey, ...]:
        """The public keys of the log, for those who verify proofs."""
        return self._log

    @property
    def keys_size(self) -> int | None:
        """How many records the signed key tree is of; None where there is none, in an index of format 1."""
        return None if self._checkpoint.keys is None else self._checkpoint.keys.size

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

    def prove_growth(self, old: bytes) -> GrowthProof:
        """The proof that the log of an earlier checkpoint, a note, is the beginning of this one.

        Raises NoteError where it is no checkpoint of this log, ForkedError where no proof exists.
        """
        before = open_checkpoint(old, self._log)
        if before.size <= self.size:
            path = consistency_path(before.size, self.size, self._tiles.node)
            if verify_consistency(before.size, self.size, path, before.root, self.root):
                return GrowthProof(old, path, self._note)
        raise ForkedError(
            f"the log of {self.size} records is not one that grew from that of {before.size} records with "
            f"root {before.root.hex()}: it was rolled back, forked or damaged"
        )

    def prove_key(self, key: bytes) -> KeyProof:
        """The proof that one of the first ``keys_size`` records has this key, or none has.

        It holds, or this raises.
        """
        signed = self._checkpoint.keys
        if signed is None:
            raise IndexStoreError("an index of format 1 has no key tree, so it cannot prove what it lacks")
        for tree in (stored(self._directory, signed.size), None):
            leaf, path = (tree or rebuilt(Tiles(self._directory, signed.size))).prove(key)
            if verify_key(key, leaf, path, signed.root):
                return KeyProof(key, leaf, path, self._note)
        raise DamagedError(CHECKPOINT, "signs a key tree that is not that of its records")


def open_reader_at(directory: Path, note: bytes) -> Reader:
    """The log at an earlier checkpoint, or one that others cosigned. Raises NoteError for another log's."""
    _, own = read_identity(directory)
    return Reader(directory, own, open_checkpoint(note, own), note)


def open_reader(directory: Path, log: tuple[PublicKey, ...] | None = None) -> Reader:
    """The log at its latest checkpoint, verified under the given public keys or else the index's own."""
    _, own = read_identity(directory)
    if log not in (None, own):
        raise DamagedError(PUBLIC_KEY, "is not what was asked for")
    checkpoint, note = read_checkpoint(directory, own)
    return Reader(directory, own, checkpoint, note)
