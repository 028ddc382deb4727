"""Readers: many, without a lock, each pinned to the signed checkpoint it was opened at.

What a reader hands out has been checked against that checkpoint: ``record`` and ``prove`` up to the
signed root, ``blocks`` against the SHA-256 the writer noted (enough for a search, whose hits are then
taken from ``record``). A writer may append at the same time: nothing below the checkpoint ever changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from stages.encrypt.lwe.wire import Words
from stages.index.errors import DamagedError, ErasedError, IndexStoreError
from stages.index.log.erasure import Erasure, decode_entry
from stages.index.log.growth import growth_path
from stages.index.log.keytree import KeyTree
from stages.index.log.leaf import Leaf
from stages.index.log.proof import ErasureProof, GrowthProof, KeyProof, Proof
from stages.index.store.blocks import Statements, StoredBlock
from stages.index.store.identity import CHECKPOINT, PUBLIC_KEY, read_checkpoint, read_identity
from stages.index.store.keytree_file import rebuilt, stored
from stages.index.store.lookup import Peek
from stages.index.store.manifest import BlockKind, Extent
from stages.index.store.segments import Segments
from stages.index.store.tiles import Tiles
from stages.index.store.verified_tiles import VerifiedTiles
from stages.index.verifier import Checkpoint, LogKey, open_checkpoint, verify_key


@dataclass(frozen=True, slots=True)
class Record:
    """One record, verified up to the signed root."""

    index: int
    key: bytes
    position: int  # its row in the block as encrypted: LWE slot = header's slot + position
    header: bytes
    head_Dn: Words
    column_D: Words
    sealed: bytes
    leaf: Leaf


class Reader:
    """The log as it was at one checkpoint; made by ``open_reader``."""

    def __init__(self, directory: Path, log: tuple[LogKey, ...], checkpoint: Checkpoint, note: bytes) -> None:
        self._directory = directory
        self._log = log
        self._checkpoint = checkpoint
        self._note = note
        self._tiles = Tiles(directory, checkpoint.size)
        self._segments = Segments(directory, checkpoint.size)
        self._tree = VerifiedTiles(directory, checkpoint.size, checkpoint.root)
        self._peek = Peek(directory)
        self._keys: KeyTree | None = None  # of this checkpoint, once it was needed

    @property
    def size(self) -> int:
        """Entries in the log: records, also those that were erased, and erasures."""
        return self._checkpoint.size

    @property
    def records(self) -> int:
        """Records in the log, also those that were erased since."""
        return sum(row.records for row in self._segments.manifest if row.kind != BlockKind.STATEMENTS)

    @property
    def root(self) -> bytes:
        """The log's root hash."""
        return self._checkpoint.root

    @property
    def checkpoint(self) -> bytes:
        """The signed note of that checkpoint."""
        return self._note

    @property
    def log(self) -> tuple[LogKey, ...]:
        """The public keys of the log, for those who verify proofs."""
        return self._log

    @property
    def model(self) -> bytes | None:
        """SHA-256 of the weights that the features are of; None where the checkpoint states none."""
        return self._checkpoint.model

    @property
    def keys_size(self) -> int | None:
        """How many entries the signed key tree is of; None where the checkpoint has none."""
        return None if self._checkpoint.keys is None else self._checkpoint.keys.size

    def keys(self) -> Iterator[bytes]:
        """The key of every record that is there, in log order."""
        return (key for _, key in self.listed())

    def listed(self) -> Iterator[tuple[int, bytes]]:
        """Number and key of every record that is there, in log order."""
        gone = self._gone()
        return ((index, key) for index, key in self._tiles.keys(0) if index not in gone)

    def present(self, start: int, stop: int) -> list[int]:
        """The entries from start to stop-1 that are records and not erased."""
        if start >= stop:
            return []
        gone = {entry.index for _, entry in self._tiles.erasures()}
        return [i for i in range(start, stop) if i not in gone and self._tiles.key(i) is not None]

    def find(self, key: bytes) -> int | None:
        """The index of the record with this key: from the cache where it helps, else by looking through."""
        return next((index for index in self._having(key) if self._eraser(index) is None), None)

    def find_erased(self, key: bytes) -> int | None:
        """The index of the erased record with this key, up to this checkpoint."""
        erasers = ((index, self._eraser(index)) for index in self._having(key))
        return next((index for index, eraser in erasers if eraser is not None and eraser < self.size), None)

    def _having(self, key: bytes) -> Iterator[int]:
        """The records with this key, erased or not."""
        known, size = self._peek.find(key)
        if known is not None:
            if known.number >= self.size:
                return  # appended after this reader's checkpoint
            if self._tiles.key(known.number) == key:
                yield known.number
                return
            size = 0  # the cache is wrong
        yield from (index for index, other in self._tiles.keys(size) if other == key)

    def blocks(self) -> Iterator[StoredBlock]:
        """All records that are there, in blocks, as views of the mapped files; drop each to bound memory.

        Where records of a block were erased, each run between them comes as a block of its own.
        """
        for number in range(len(self._segments.manifest)):
            block = self._segments.block(number)
            if isinstance(block, StoredBlock):
                yield from block.parts()

    def record(self, index: int) -> Record:
        """One record, every byte of it checked against the signed root, and its own from then on."""
        proof = self.prove(index)
        while True:
            extent, block = self._segments.holder(index)
            if isinstance(block, Statements):
                raise IndexError(f"entry {index} of the index is no record: it records an erasure")
            eraser = block.eraser(index - block.first_index)
            if eraser is not None:
                self._check_erased(index, eraser, extent)
            record = _copied(block, index)
            if record.leaf.encode() == proof.record:
                return record
            if self._segments.leads_to(index, extent):
                key = record.key.hex()
                raise DamagedError(extent.file, f"does not hold record {index} ({key}) as committed")

    def _check_erased(self, index: int, eraser: int, extent: Extent) -> NoReturn:
        """A record may be missing where a proven entry of the log erases it."""
        if eraser >= self.size:
            raise ErasedError(f"record {index} was erased after this checkpoint: open the index again")
        erasure, _ = self._erasure(index, eraser, extent)
        day = datetime.fromtimestamp(erasure.time_ms / 1000, UTC).date()
        raise ErasedError(f"record {index} was erased on {day}, by entry {eraser} of the index")

    def _erasure(self, index: int, eraser: int, extent: Extent) -> tuple[Erasure, Proof]:
        """The content of the entry that erased the record, and its proof."""
        if index < eraser:
            proof = self.prove(eraser)
            entry = decode_entry(proof.record)
            if isinstance(entry, Erasure) and entry.index == index:
                return entry, proof
        raise DamagedError(extent.file, f"lacks record {index}, and no entry of the log erases it")

    def _eraser(self, index: int) -> int | None:
        """The entry by which a record was erased, if it was."""
        manifest = self._segments.manifest
        number = manifest.find(index)
        if manifest[number].kind != BlockKind.ERASED:
            return None
        block = self._segments.block(number)
        return block.eraser(index - block.first_index) if isinstance(block, StoredBlock) else None

    def _gone(self) -> set[int]:
        """The records that were erased."""
        rows = enumerate(self._segments.manifest)
        blocks = (self._segments.block(number) for number, row in rows if row.kind == BlockKind.ERASED)
        some = (block for block in blocks if isinstance(block, StoredBlock))
        return {block.first_index + row for block in some for row, _ in block.erased}

    def prove(self, index: int) -> Proof:
        """The proof that a record is in the log; it holds, or this raises."""
        if not 0 <= index < self.size:
            raise IndexError(f"the index has {self.size} records; there is no record {index}")
        return Proof(index, self._tree.record(index), self._tree.path(index), self._note)

    def prove_erasure(self, index: int) -> ErasureProof:
        """The proof that a record is in the log and was erased; it holds, or this raises."""
        record = self.prove(index)
        extent, block = self._segments.holder(index)
        eraser = block.eraser(index - block.first_index) if isinstance(block, StoredBlock) else None
        if eraser is None or eraser >= self.size:
            raise IndexStoreError(f"the log of {self.size} entries does not erase {index}")
        return ErasureProof(record, self._erasure(index, eraser, extent)[1])

    def prove_growth(self, old: bytes) -> GrowthProof:
        """The proof that the log of an earlier checkpoint, a note, is the beginning of this one.

        Raises NoteError where it is no checkpoint of this log, ForkedError where no proof exists or the
        log states another model or key tree than it did.
        """
        before = open_checkpoint(old, self._log)
        return GrowthProof(old, growth_path(before, self._checkpoint, self._tiles.node), self._note)

    def prove_key(self, key: bytes) -> KeyProof:
        """The proof that one of the first ``keys_size`` records has this key, or none has.

        It holds, or this raises.
        """
        signed = self._checkpoint.keys
        if signed is None:
            raise IndexStoreError("the checkpoint signs no key tree, so nothing proves what the log lacks")
        for tree in (self._keys or stored(self._directory, signed.size), None):
            with suppress(ValueError):  # rows that are those of no tree
                self._keys = tree or rebuilt(Tiles(self._directory, signed.size))
                leaf, path = self._keys.prove(key)
                if verify_key(key, leaf, path, signed.root):
                    return KeyProof(key, leaf, path, self._note)
        raise DamagedError(CHECKPOINT, "signs a key tree that is not that of its records")


def open_reader_at(directory: Path, note: bytes) -> Reader:
    """The log at an earlier checkpoint, or one that others cosigned. Raises NoteError for another log's."""
    _, own = read_identity(directory)
    return Reader(directory, own, open_checkpoint(note, own), note)


def open_reader(directory: Path, log: tuple[LogKey, ...] | None = None) -> Reader:
    """The log at its latest checkpoint, verified under the given public keys or else the index's own."""
    _, own = read_identity(directory)
    if log not in (None, own):
        raise DamagedError(PUBLIC_KEY, "is not the expected one")
    checkpoint, note = read_checkpoint(directory, own)
    return Reader(directory, own, checkpoint, note)


def _copied(block: StoredBlock, index: int) -> Record:
    """A record that is there, with copies of its words, which are hashed: the file may be overwritten."""
    row = index - block.first_index
    head_Dn, column_D = block.head_Dn.copy(), block.column(row).copy()
    head_Dn.flags.writeable = column_D.flags.writeable = False
    key, position, sealed = block.keys[row], int(block.positions_N[row]), block.sealed[row]
    leaf = Leaf.of(key, position, column_D.data, head_Dn.data, block.header, sealed)
    return Record(index, key, position, block.header, head_Dn, column_D, sealed, leaf)
