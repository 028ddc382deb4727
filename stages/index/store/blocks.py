"""A block in memory and as bytes: one Arrow record batch of one row.

A block holds the records of one LWE block, or, without a header, entries of the log that are no records.
A record that was erased keeps key and position here, and its leaf record, which holds digests only, in
place of its metadata.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.batches import Sealed
from stages.encrypt.lwe.errors import HeaderError
from stages.encrypt.lwe.wire import Words, decode_header
from stages.index.errors import DamagedError
from stages.index.log.leaf import KEY_BYTES, Leaf
from stages.index.log.leaves import encode_leaves
from stages.index.store.blobs import Blobs
from stages.index.store.manifest import BlockKind, Extent

_HALF: Final = np.dtype("<u4")
_WORDS: Final = pa.list_(pa.field("word", pa.uint32(), nullable=False))
_KEYS: Final = pa.list_(pa.field("key", pa.binary(KEY_BYTES), nullable=False))
_BLOBS: Final = pa.list_(pa.field("blob", pa.binary(), nullable=False))
_PLACES: Final = pa.list_(pa.field("place", pa.uint64(), nullable=False))
SCHEMA: Final = pa.schema(
    [
        pa.field("header", pa.binary(), nullable=False),  # empty where the block holds statements
        pa.field("head", _WORDS, nullable=False),  # D x n
        pa.field("keys", _KEYS, nullable=False),
        pa.field("positions", _WORDS, nullable=False),
        pa.field("columns", _WORDS, nullable=False),  # N x D, record by record; none for the erased
        pa.field("sealed", _BLOBS, nullable=False),  # or the leaf record, of what is erased or is no record
        pa.field("erased", _PLACES, nullable=False),  # row, log index of its erasure; and so on
    ]
)


class Digests(NamedTuple):
    """What the leaf records of a block's records hold of them, N each in a row, and of the block."""

    head: bytes
    header: bytes
    columns: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """The committed records of one LWE block. Arrays are read-only and may be views of the file.

    A row is not always its position: rows whose key was already in the log were never stored.
    """

    first_index: int
    keys: Sequence[bytes]
    positions_N: NDArray[np.uint32]  # the row's place in the block as encrypted; LWE slot - header's slot
    header: bytes
    head_Dn: Words  # empty where every record is erased
    columns_ND: Words  # of the records that are not erased
    sealed: Sequence[bytes] = field(repr=False)
    erased: tuple[tuple[int, int], ...] = ()  # row, and log index of the entry that erases it; rows ascend

    def __len__(self) -> int:
        return len(self.keys)

    def eraser(self, row: int) -> int | None:
        """The log index of the row's erasure entry; None where the record is there."""
        place = bisect_left(self.erased, (row, 0))
        found = self.erased[place : place + 1]
        return found[0][1] if found and found[0][0] == row else None

    def column(self, row: int) -> Words:
        """The ciphertext column of a record that is there, [D]."""
        column_D: Words = self.columns_ND[row - bisect_left(self.erased, (row, 0))]
        return column_D

    def digests(self) -> Digests:
        """The digests that its leaf records hold."""
        head = sha256(self.head_Dn.data).digest()  # first: it takes long and releases the GIL
        gone = {row for row, _ in self.erased}
        kept = len(self) - len(gone)
        words = np.ascontiguousarray(self.columns_ND).data.cast("B")
        width = len(words) // kept if kept else 1
        columns = [sha256(words[i : i + width]).digest() for i in range(0, len(words), width)]
        sealed = [sha256(one).digest() for row, one in enumerate(self.sealed) if row not in gone]
        return Digests(head, sha256(self.header).digest(), b"".join(columns), b"".join(sealed))

    def entries(self, digests: Digests | None = None) -> list[bytes]:
        """The leaf record of every row, from its bytes; that of an erased one as it was kept.

        ``digests`` need not be made again where they are at hand.
        """
        gone = {row for row, _ in self.erased}
        kept = [row for row in range(len(self)) if row not in gone]
        if not kept:
            return list(self.sealed)
        head, header, columns, sealed = digests or self.digests()
        keys = b"".join(key for row, key in enumerate(self.keys) if row not in gone)
        made = encode_leaves(keys, self.positions_N[kept], columns, head, header, sealed)
        found = list(self.sealed)
        for row, entry in zip(kept, made, strict=True):
            found[row] = entry
        return found

    def leaf(self, row: int) -> Leaf:
        """The leaf record of a record that is there, from its bytes."""
        key, position, sealed = self.keys[row], int(self.positions_N[row]), self.sealed[row]
        return Leaf.of(key, position, self.column(row).data, self.head_Dn.data, self.header, sealed)

    def parts(self) -> Iterator[StoredBlock]:
        """The runs of records that are there, each as a block of its own; views."""
        if not self.erased:
            yield self
            return
        start = 0
        for number, row in enumerate([*(row for row, _ in self.erased), len(self)]):
            if row > start:
                yield StoredBlock(
                    self.first_index + start,
                    self.keys[start:row],
                    self.positions_N[start:row],
                    self.header,
                    self.head_Dn,
                    self.columns_ND[start - number : row - number],
                    self.sealed[start:row],
                )
            start = row + 1

    def without(self, erased: dict[int, int]) -> StoredBlock:
        """The block after more rows, which are there, were erased; row to log index of its erasure entry."""
        everything = dict(self.erased) | erased
        kept = [row for row in range(len(self)) if row not in everything]
        columns_ND = np.array([self.column(row) for row in kept], self.columns_ND.dtype)
        return replace(
            self,
            head_Dn=self.head_Dn if kept else self.head_Dn[:0],
            columns_ND=columns_ND.reshape(len(kept), self.columns_ND.shape[1] if kept else 0),
            sealed=tuple(
                self.leaf(row).encode() if row in erased else one for row, one in enumerate(self.sealed)
            ),
            erased=tuple(sorted(everything.items())),
        )


@dataclass(frozen=True, slots=True)
class Statements:
    """Entries of the log that are no records, as their leaf records."""

    first_index: int
    records: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.records)

    def entries(self) -> list[bytes]:
        """The leaf records."""
        return list(self.records)


def block_of(sealed: Sealed, rows: Sequence[int], first_index: int) -> StoredBlock:
    """The given rows of an encrypted block, as they will be stored."""
    head_Dn, columns_ND = sealed.head_Dn, sealed.columns_ND
    if head_Dn.ndim != 2 or not head_Dn.size or columns_ND.shape != (len(sealed), len(head_Dn)):  # noqa: PLR2004 - D, n
        raise ValueError(f"head {head_Dn.shape} and columns {columns_ND.shape} are no block of {len(sealed)}")
    word = _word(sealed.header)
    if head_Dn.dtype != word or columns_ND.dtype != word:
        raise ValueError(f"the block is {word}, not {head_Dn.dtype} and {columns_ND.dtype}")
    if not sealed.header:
        raise ValueError("a block of records has a wire header")
    kept = sealed.rows
    if len(rows) < len(sealed):
        kept, columns_ND = kept.take(rows), columns_ND[list(rows)]
    return StoredBlock(
        first_index,
        kept.keys,
        np.asarray(rows, np.uint32),
        sealed.header,
        np.ascontiguousarray(head_Dn, word),
        np.ascontiguousarray(columns_ND, word),
        kept.sealed,
    )


def encode_block(block: StoredBlock | Statements, *, opens_segment: bool) -> Any:
    """The block's bytes in a segment: an Arrow message, after the schema's where the segment is new."""
    if isinstance(block, Statements):
        none_N = np.empty(0, np.uint32)
        block = StoredBlock(block.first_index, (), none_N, b"", none_N, none_N, block.records)
    keys = pa.Array.from_buffers(pa.binary(KEY_BYTES), len(block), [None, pa.py_buffer(b"".join(block.keys))])
    row = [
        pa.array([block.header], pa.binary()),
        _one_list(_words(block.head_Dn), _WORDS),
        _one_list(keys, _KEYS),
        _one_list(_words(block.positions_N), _WORDS),
        _one_list(_words(block.columns_ND), _WORDS),
        _one_list(pa.array(block.sealed, pa.binary()), _BLOBS),
        _one_list(pa.array([one for pair in block.erased for one in pair], pa.uint64()), _PLACES),
    ]
    message = pa.RecordBatch.from_arrays(row, schema=SCHEMA).serialize()
    return b"".join((SCHEMA.serialize(), message)) if opens_segment else memoryview(message)


def decode_block(data: Any, extent: Extent) -> StoredBlock | Statements:
    """The block in these bytes (a buffer, not copied). Raises DamagedError for any damage."""
    try:
        messages = pa.ipc.MessageReader.open_stream(pa.py_buffer(data))
        message = messages.read_next_message()
        if message.type == "schema":
            message = messages.read_next_message()
        batch = pa.ipc.read_record_batch(message, SCHEMA)
        batch.validate(full=True)
        return _block(batch, extent)
    except (pa.ArrowException, ValueError, OSError, EOFError, StopIteration) as error:
        raise DamagedError(extent.file, f"does not hold {extent} as readable Arrow data") from error


def _block(batch: Any, extent: Extent) -> StoredBlock | Statements:
    if batch.num_rows != 1:
        raise ValueError("a block is one row")
    header, *lists = batch.columns
    parts = [column.flatten() for column in lists]
    if any(column.null_count for column in (*batch.columns, *parts)):
        raise ValueError("a block has no nulls")
    head, keys, positions, columns, sealed, places = parts
    if (len(header[0].as_py()) == 0) != (extent.kind == BlockKind.STATEMENTS):
        raise ValueError("records have a header, statements have none")
    if extent.kind == BlockKind.STATEMENTS:
        if len(sealed) != extent.records or any(map(len, (head, keys, positions, columns, places))):
            raise ValueError("the block's parts do not fit each other")
        return Statements(extent.first, tuple(sealed.to_pylist()))
    erased = _erased(places.to_pylist(), extent)
    if not len(keys) == len(positions) == len(sealed) == extent.records:
        raise ValueError("the block's parts do not fit each other")
    kept = extent.records - len(erased)
    word = _word(header[0].as_py())
    columns_W = columns.to_numpy().view(word)
    words = len(columns_W) // kept if kept else 0
    if bool(words) != bool(kept):
        raise ValueError("a record has a column")
    return StoredBlock(
        extent.first,
        Blobs(keys),
        positions.to_numpy(),
        header[0].as_py(),
        head.to_numpy().view(word).reshape(words, -1 if words else 0),
        columns_W.reshape(kept, words),
        Blobs(sealed),
        erased,
    )


def _erased(places: list[int], extent: Extent) -> tuple[tuple[int, int], ...]:
    """Row and log index of each erasure, as they are stored."""
    pairs = tuple(zip(places[::2], places[1::2], strict=True))
    rows = [row for row, _ in pairs]
    if bool(pairs) != (extent.kind == BlockKind.ERASED) or rows != sorted(
        set(rows) & set(range(extent.records))
    ):
        raise ValueError("the erased rows are not those of the block")
    return pairs


def _word(header: bytes) -> np.dtype[np.unsignedinteger]:
    """The type of the words of a block with this header; 32 bits where it is not one that can be read."""
    try:
        return decode_header(header).parameters.word
    except HeaderError:
        return _HALF


def _words(values: Words) -> Any:
    """The words of an array, not copied; 64-bit ones as two, the lower first: the same bytes."""
    flat_N = np.ascontiguousarray(values).reshape(-1).view(_HALF)
    return pa.Array.from_buffers(pa.uint32(), len(flat_N), [None, pa.py_buffer(flat_N)])


def _one_list(values: Any, kind: Any) -> Any:
    """A column of one row, which is the list of these values."""
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values, type=kind)
