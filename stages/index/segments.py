"""Ciphertext on disk: Arrow IPC streams of LWE blocks.

A segment is an Arrow stream without an end mark: a schema, then one record batch of one row per block.
Arrow IPC has no checksum and reads a torn tail as a clean end, so nothing here trusts it: a block is
found through the manifest and used once the SHA-256 of its bytes is right. Blocks are mapped, not read:
the arrays of a ``Block`` are views of the file. 64-bit words lie as two 32-bit ones, the lower first: the
same bytes, and one schema for every parameter set. The block's header says which they are.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from mmap import PROT_READ, mmap
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.batches import Sealed
from stages.encrypt.errors import HeaderError
from stages.encrypt.wire import Words, decode_header
from stages.index.errors import DamagedError
from stages.index.leaf import KEY_BYTES, Leaf
from stages.index.manifest import Extent

_HALF: Final = np.dtype("<u4")
_WORDS: Final = pa.list_(pa.field("word", pa.uint32(), nullable=False))
_KEYS: Final = pa.list_(pa.field("key", pa.binary(KEY_BYTES), nullable=False))
_BLOBS: Final = pa.list_(pa.field("blob", pa.binary(), nullable=False))
SCHEMA: Final = pa.schema(
    [
        pa.field("header", pa.binary(), nullable=False),
        pa.field("head", _WORDS, nullable=False),  # D x n
        pa.field("keys", _KEYS, nullable=False),
        pa.field("positions", _WORDS, nullable=False),
        pa.field("columns", _WORDS, nullable=False),  # N x D, record by record
        pa.field("sealed", _BLOBS, nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Block:
    """The committed records of one LWE block. Arrays are read-only and may be views of the file.

    A row is not always its position: rows whose key was already in the log were never stored.
    """

    first_index: int
    keys: tuple[bytes, ...]
    positions_N: NDArray[np.uint32]  # the row's place in the block as encrypted; LWE slot - header's slot
    header: bytes
    head_Dn: Words
    columns_ND: Words
    sealed: Sequence[bytes] = field(repr=False)

    def __len__(self) -> int:
        return len(self.keys)

    def leaves(self) -> list[Leaf]:
        """The leaf record of every row, from its bytes."""
        head, header = self._digests()
        return [self._leaf(row, head, header) for row in range(len(self))]

    def leaf(self, row: int) -> Leaf:
        """The leaf record of one row, from its bytes."""
        return self._leaf(row, *self._digests())

    def _digests(self) -> tuple[bytes, bytes]:
        return sha256(self.head_Dn.data).digest(), sha256(self.header).digest()

    def _leaf(self, row: int, head: bytes, header: bytes) -> Leaf:
        column = sha256(self.columns_ND[row].data).digest()
        sealed = sha256(self.sealed[row]).digest()
        return Leaf(self.keys[row], int(self.positions_N[row]), column, head, header, sealed)


def block_of(sealed: Sealed, rows: Sequence[int], first_index: int) -> Block:
    """The given rows of an encrypted block, as they will be stored."""
    head_Dn, columns_ND = sealed.head_Dn, sealed.columns_ND
    if head_Dn.ndim != 2 or not head_Dn.size or columns_ND.shape != (len(sealed), len(head_Dn)):  # noqa: PLR2004 - D, n
        raise ValueError(f"head {head_Dn.shape} and columns {columns_ND.shape} are no block of {len(sealed)}")
    word = _word(sealed.header)
    if head_Dn.dtype != word or columns_ND.dtype != word:
        raise ValueError(f"the block is {word}, not {head_Dn.dtype} and {columns_ND.dtype}")
    kept = sealed.rows
    if len(rows) < len(sealed):
        kept, columns_ND = kept.take(rows), columns_ND[list(rows)]
    return Block(
        first_index,
        kept.keys,
        np.asarray(rows, np.uint32),
        sealed.header,
        np.ascontiguousarray(head_Dn, word),
        np.ascontiguousarray(columns_ND, word),
        kept.sealed,
    )


def encode_block(block: Block, *, opens_segment: bool) -> bytes:
    """The block's bytes in a segment: an Arrow message, after the schema's where the segment is new."""
    keys = pa.Array.from_buffers(pa.binary(KEY_BYTES), len(block), [None, pa.py_buffer(b"".join(block.keys))])
    row = [
        pa.array([block.header], pa.binary()),
        _one_list(pa.array(block.head_Dn.reshape(-1).view(_HALF)), _WORDS),
        _one_list(keys, _KEYS),
        _one_list(pa.array(block.positions_N), _WORDS),
        _one_list(pa.array(block.columns_ND.reshape(-1).view(_HALF)), _WORDS),
        _one_list(pa.array(block.sealed, pa.binary()), _BLOBS),
    ]
    message = pa.RecordBatch.from_arrays(row, schema=SCHEMA).serialize()
    schema = SCHEMA.serialize() if opens_segment else b""
    return b"".join((schema, message))


def decode_block(data: Any, extent: Extent) -> Block:
    """The block in these bytes (a buffer, not copied), whatever they are: damage is a ``DamagedError``."""
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


def _block(batch: Any, extent: Extent) -> Block:
    if batch.num_rows != 1:
        raise ValueError("a block is one row")
    header, *lists = batch.columns
    parts = [column.flatten() for column in lists]
    if any(column.null_count for column in (*batch.columns, *parts)):
        raise ValueError("a block has no nulls")
    head, keys, positions, columns, sealed = parts
    if not len(keys) == len(positions) == len(sealed) == extent.records:
        raise ValueError("the block's parts do not fit each other")
    wire_header = header[0].as_py()
    word = _word(wire_header)
    columns_ND = columns.to_numpy().view(word).reshape(extent.records, -1)
    return Block(
        extent.first,
        tuple(keys.to_pylist()),
        positions.to_numpy(),
        wire_header,
        head.to_numpy().view(word).reshape(columns_ND.shape[1], -1),
        columns_ND,
        tuple(sealed.to_pylist()),
    )


def _word(header: bytes) -> np.dtype[np.unsignedinteger]:
    """The type of the words of a block with this header; 32 bits where it is not one that can be read."""
    try:
        return decode_header(header).parameters.word
    except HeaderError:
        return _HALF


def _one_list(values: Any, kind: Any) -> Any:
    """A column of one row, which is the list of these values."""
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values, type=kind)


def read_extent(directory: Path, extent: Extent) -> bytes:
    """The block's bytes, unchecked."""
    try:
        with (directory / extent.file).open("rb") as file:
            if os.fstat(file.fileno()).st_size < extent.end:
                raise DamagedError(extent.file, f"ends before {extent} do")
            file.seek(extent.offset)
            return file.read(extent.length)
    except FileNotFoundError:
        raise DamagedError(extent.file, "is missing") from None


def check_extent(data: Any, extent: Extent) -> None:
    """Refuse bytes that are not those that were written."""
    if sha256(data).digest() != extent.digest:
        raise DamagedError(extent.file, f"is damaged among the bytes of {extent}")


class Segments:
    """Maps blocks; a segment is unmapped when the last view of it is gone."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._maps: WeakValueDictionary[int, mmap] = WeakValueDictionary()
        self._checked: set[int] = set()  # first indices of the blocks whose bytes were right

    def block(self, extent: Extent) -> Block:
        """The block, its bytes checked the first time."""
        data = self._bytes(extent)
        if extent.first not in self._checked:
            check_extent(data, extent)
            self._checked.add(extent.first)
        return decode_block(data, extent)

    def header(self, extent: Extent) -> bytes:
        """The block's wire header, unchecked."""
        return decode_block(self._bytes(extent), extent).header

    def _bytes(self, extent: Extent) -> memoryview:
        mapped = self._maps.get(extent.segment)
        if mapped is None or len(mapped) < extent.end:
            self._maps[extent.segment] = mapped = self._map(extent)
        return memoryview(mapped)[extent.offset : extent.end]

    def _map(self, extent: Extent) -> mmap:
        try:
            with (self._directory / extent.file).open("rb") as file:
                if os.fstat(file.fileno()).st_size < extent.end:
                    raise DamagedError(extent.file, f"ends before {extent} do")
                return mmap(file.fileno(), 0, prot=PROT_READ)
        except FileNotFoundError:
            raise DamagedError(extent.file, "is missing") from None
