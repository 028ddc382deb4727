"""The server's side of a search: scores a request over the ciphertexts of an index, and holds no key.

A request is pinned to a checkpoint. An index that has grown since answers for that prefix if its root there
is the same. Answers are computed block by block, so memory holds a few blocks at most.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pipeline.queries.inclusion import root_at
from stages.encrypt.lwe.errors import LweError
from stages.encrypt.lwe.exchange import (
    MAX_REQUEST_BYTES,
    ExchangeError,
    Scored,
    ScoreRequest,
    decode_request,
    encode_answers,
)
from stages.encrypt.lwe.search import BlockScores, score_words
from stages.encrypt.lwe.wire import decode_header
from stages.errors import OperatorError
from stages.index.reader import Reader, open_reader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "MAX_REQUEST_BYTES",
    "MalformedRequestError",
    "UnknownCheckpointError",
    "answer",
    "answers",
    "checkpoint_note",
]


class MalformedRequestError(OperatorError):
    """The bytes are no request for scores."""


class UnknownCheckpointError(OperatorError):
    """The index never was at the checkpoint that a request is pinned to."""


def checkpoint_note(directory: Path) -> bytes:
    """The signed note of the newest checkpoint."""
    return open_reader(directory).checkpoint


def answer(directory: Path, request: bytes) -> Iterator[bytes]:
    """The bytes of the answer, block by block.

    Raises MalformedRequestError where the bytes are no request, OtherLogError where they are pinned to
    another log.
    """
    try:
        wanted = decode_request(request)
    except ExchangeError as error:
        raise MalformedRequestError(str(error)) from error
    reader = open_reader(directory)
    if wanted.size > reader.size or root_at(directory, reader, wanted.size) != wanted.root:
        raise UnknownCheckpointError(
            f"this replica has {reader.size} records and root {reader.root.hex()[:16]}: it never was at the "
            f"checkpoint of {wanted.size} records and root {wanted.root.hex()[:16]}"
        )
    return encode_answers(wanted.parameters, answers(reader, wanted))


def answers(reader: Reader, wanted: ScoreRequest) -> Iterator[Scored]:
    """The answer for every block of the request's checkpoint, in order."""
    for block in reader.blocks():
        if block.first_index >= wanted.size:
            return
        scored: BlockScores | None = None
        with suppress(LweError):  # the querier, who can read the header as well, names the block
            header = decode_header(block.header)
            if header.parameters == wanted.parameters and header.dimensions == len(wanted.words_D):
                scored = score_words(
                    header, block.head_Dn, block.columns_ND, wanted.words_D, block.positions_N
                )
        yield Scored(block.first_index, len(block), block.header, scored)
