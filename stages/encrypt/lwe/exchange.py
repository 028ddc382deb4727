"""Bytes of a request to a replica and of its answers; docs/queries.md has both as tables.

Little-endian. A request is a share of the weights, pinned to one checkpoint of the log. The answers are
a stream: a preface, one length-prefixed frame per block of that log in order, a zero length, and the
SHA-256 of all before it. That finds damage and truncation; a server that lies is found by recomputing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import numpy as np

from stages.encrypt.lwe.errors import LweError
from stages.encrypt.lwe.parameters import ParameterError, Parameters, by_number
from stages.encrypt.lwe.search import BlockScores
from stages.encrypt.lwe.wire import HEADER_BYTES, MAX_DIMENSIONS, Words, decode_header

_REQUEST: Final = struct.Struct("<4sHHIQ32s")  # magic, version, parameters, D, size, root; D words follow
_QUESTION_MAGIC: Final = b"MSPQ"
_PREFACE: Final = struct.Struct("<4sHH")  # magic, version, parameters
_PREFACE_MAGIC: Final = b"MSPA"
_VERSION: Final = 1
_LENGTH: Final = struct.Struct("<I")
_FRAME: Final = struct.Struct("<QIB")  # first record, records, kind; the block's header follows
_SKIPPED, _FULL, _SOME = range(3)
_MAX_RECORDS: Final = 1 << 20
MAX_REQUEST_BYTES: Final = _REQUEST.size + 8 * MAX_DIMENSIONS


class ExchangeError(LweError):
    """Bytes that are no request, or no answer to one."""


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """A request to a replica: weights or a share of them, for the log of one checkpoint."""

    parameters: Parameters
    size: int
    root: bytes
    words_D: Words = field(repr=False)

    def encode(self) -> bytes:
        """The request's bytes."""
        fixed = (self.parameters.number, len(self.words_D), self.size, self.root)
        words = self.words_D.astype(self.parameters.word).tobytes()
        return _REQUEST.pack(_QUESTION_MAGIC, _VERSION, *fixed) + words


@dataclass(frozen=True, slots=True)
class Scored:
    """The answer for one block of the log; None for one of other parameters or features, or unreadable."""

    first_index: int
    records: int
    header: bytes
    answer: BlockScores | None = field(repr=False)


def decode_request(data: bytes) -> ScoreRequest:
    """The request that these bytes are."""
    if len(data) < _REQUEST.size:
        raise ExchangeError(f"a request has at least {_REQUEST.size} bytes, not {len(data)}")
    magic, version, number, dimensions, size, root = _REQUEST.unpack_from(data)
    parameters = _parameters(magic, _QUESTION_MAGIC, version, number)
    words = parameters.word
    if not 0 < dimensions <= MAX_DIMENSIONS or len(data) != _REQUEST.size + dimensions * words.itemsize:
        raise ExchangeError(f"a request of {dimensions} features does not have {len(data)} bytes")
    return ScoreRequest(parameters, size, root, np.frombuffer(data, words, offset=_REQUEST.size))


def encode_answers(parameters: Parameters, blocks: Iterable[Scored]) -> Iterator[bytes]:
    """The stream's pieces, one a block."""
    digest = sha256()
    piece = _PREFACE.pack(_PREFACE_MAGIC, _VERSION, parameters.number)
    for block in blocks:
        digest.update(piece)
        yield piece
        frame = encode_frame(block)
        piece = _LENGTH.pack(len(frame)) + frame
    piece += _LENGTH.pack(0)
    digest.update(piece)
    yield piece + digest.digest()


def decode_answers(parameters: Parameters, read: Callable[[int], bytes]) -> Iterator[Scored]:
    """The blocks of a stream, as they arrive; ``read`` returns exactly the requested bytes or raises."""
    digest = sha256()

    def take(count: int) -> bytes:
        data = read(count)
        digest.update(data)
        return data

    magic, version, number = _PREFACE.unpack(take(_PREFACE.size))
    if _parameters(magic, _PREFACE_MAGIC, version, number) != parameters:
        raise ExchangeError(f"the answers are not about {parameters.name}")
    most = _FRAME.size + HEADER_BYTES + (_MAX_RECORDS + parameters.n) * (4 + parameters.q_bits // 8)
    while length := _LENGTH.unpack(take(_LENGTH.size))[0]:
        if length > most:
            raise ExchangeError(f"an answer claims to have {length} bytes")
        yield decode_frame(take(length), parameters)
    expected = digest.digest()
    if read(len(expected)) != expected:
        raise ExchangeError("the answers were damaged on their way: their checksum does not match")


def encode_frame(block: Scored) -> bytes:
    """One block's answer."""
    answer = block.answer
    if answer is None:
        header = block.header if len(block.header) == HEADER_BYTES else bytes(HEADER_BYTES)
        return _FRAME.pack(block.first_index, block.records, _SKIPPED) + header
    words = decode_header(block.header).parameters.word
    full = np.array_equal(answer.positions_N, np.arange(block.records))
    parts = [_FRAME.pack(block.first_index, block.records, _FULL if full else _SOME), block.header]
    if not full:
        parts.append(answer.positions_N.astype("<u4").tobytes())
    return b"".join([*parts, answer.head_n.astype(words).tobytes(), answer.scores_N.astype(words).tobytes()])


def decode_frame(data: bytes, parameters: Parameters) -> Scored:
    """One block's answer under this parameter set; its header is checked, its counts fit its length."""
    if len(data) < _FRAME.size + HEADER_BYTES:
        raise ExchangeError(f"an answer of {len(data)} bytes is too short")
    first, records, kind = _FRAME.unpack_from(data)
    at = _FRAME.size + HEADER_BYTES
    header = data[_FRAME.size : at]
    if kind == _SKIPPED and len(data) == at:
        return Scored(first, records, header, None)
    words, n = parameters.word, parameters.n
    listed = 4 * records if kind == _SOME else 0
    if kind not in (_FULL, _SOME) or len(data) != at + listed + (n + records) * words.itemsize:
        raise ExchangeError(f"the answer for {records} records from {first} on does not have its length")
    found = decode_header(header)
    positions_N = np.arange(records, dtype=np.uint32)
    if kind == _SOME:
        positions_N = np.frombuffer(data, "<u4", records, at).astype(np.uint32)
    if found.parameters != parameters or (positions_N >= found.count).any():
        raise ExchangeError(
            f"the answer for {records} records from {first} on does not fit its block's header"
        )
    head_n = np.frombuffer(data, words, n, at + listed)
    scores_N = np.frombuffer(data, words, records, at + listed + n * words.itemsize)
    return Scored(first, records, header, BlockScores(head_n, scores_N, positions_N))


def _parameters(magic: bytes, expected: bytes, version: int, number: int) -> Parameters:
    if magic != expected:
        raise ExchangeError("these bytes are no request to a replica, nor its answers: wrong magic number")
    if version != _VERSION:
        raise ExchangeError(f"the exchange has version {version}, this program supports version {_VERSION}")
    try:
        return by_number(number)
    except ParameterError as error:
        raise ExchangeError(str(error)) from error
