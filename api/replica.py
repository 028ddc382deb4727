"""A replica of the index for the private query (S1'): scores one share of the weights, knows no key.

``GET /checkpoint`` gives the signed note. ``POST /score`` takes a question (``stages.encrypt.exchange``) that
is pinned to a checkpoint; a replica that has grown answers for that prefix if its root there is the same,
else 409. Answers are streamed block by block: memory is bounded by a few blocks, whatever the index's size.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from pipeline.proven import root_at
from stages.base import OperatorError
from stages.encrypt.exchange import (
    MAX_QUESTION_BYTES,
    ExchangeError,
    Question,
    Scored,
    decode_question,
    encode_answers,
)
from stages.encrypt.search import Answer, score_words
from stages.encrypt.wire import decode_header
from stages.index.reader import Reader, open_reader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from starlette.requests import Request

_BINARY: Final = "application/octet-stream"


class RefusedError(Exception):
    """A request that gets no answer but a status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def application(directory: Path, token: str | None) -> Starlette:
    """The server of one index; with a token, only those who show it are answered."""

    async def checkpoint(_: Request) -> Response:
        reader = await run_in_threadpool(open_reader, directory)
        return PlainTextResponse(reader.checkpoint)

    async def score(request: Request) -> Response:
        question = _question(await _body(request))
        reader = await run_in_threadpool(_pinned, directory, question)
        stream = encode_answers(question.parameters, answers(reader, question))
        return StreamingResponse(stream, media_type=_BINARY)

    return Starlette(
        routes=[
            Route("/checkpoint", _guarded(checkpoint, token), methods=["GET"]),
            Route("/score", _guarded(score, token), methods=["POST"]),
        ]
    )


def answers(reader: Reader, question: Question) -> Iterator[Scored]:
    """The answer for every block of the question's checkpoint, in order."""
    for block in reader.blocks():
        if block.first_index >= question.size:
            return
        header = decode_header(block.header)
        answer: Answer | None = None
        if header.parameters == question.parameters and header.dimensions == len(question.words_D):
            answer = score_words(header, block.head_Dn, block.columns_ND, question.words_D, block.positions_N)
        yield Scored(block.first_index, len(block), block.header, answer)


def _guarded(
    act: Callable[[Request], Awaitable[Response]], token: str | None
) -> Callable[[Request], Awaitable[Response]]:
    """The token first; then what is refused becomes a status and a sentence."""

    async def guarded(request: Request) -> Response:
        shown = request.headers.get("authorization", "")
        if token is not None and not hmac.compare_digest(shown.encode(), f"Bearer {token}".encode()):
            return PlainTextResponse("show the token: set MEDSECURE_TOKEN", 401)
        try:
            return await act(request)
        except RefusedError as error:
            return PlainTextResponse(str(error), error.status)
        except OperatorError as error:
            return PlainTextResponse(f"the replica cannot read its index: {error}", 500)

    return guarded


async def _body(request: Request) -> bytes:
    """The request's bytes, no more than a question can have."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_QUESTION_BYTES:
            raise RefusedError(413, f"a question has at most {MAX_QUESTION_BYTES} bytes")
    return bytes(body)


def _question(data: bytes) -> Question:
    try:
        return decode_question(data)
    except ExchangeError as error:
        raise RefusedError(400, str(error)) from error


def _pinned(directory: Path, question: Question) -> Reader:
    """The log, which was at the question's checkpoint once."""
    reader = open_reader(directory)
    if question.size > reader.size or root_at(directory, reader, question.size) != question.root:
        raise RefusedError(
            409,
            f"this replica has {reader.size} records and root {reader.root.hex()[:16]}: it never was at the "
            f"checkpoint of {question.size} records and root {question.root.hex()[:16]}",
        )
    return reader
