"""A replica of the index for the private search (S1'): scores one share of the weights and holds no key.

``GET /checkpoint`` returns the signed note. ``POST /score`` takes a request (docs/queries.md) that is pinned
to a checkpoint and streams the answer block by block; a replica that never was there answers 409.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from pipeline.queries.answering import (
    MAX_REQUEST_BYTES,
    MalformedRequestError,
    UnknownCheckpointError,
    answer,
    checkpoint_note,
)
from stages.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from starlette.requests import Request

_BINARY: Final = "application/octet-stream"


class TooLargeError(OperatorError):
    """A body beyond the size of any request."""


_STATUS: Final = ((TooLargeError, 413), (MalformedRequestError, 400), (UnknownCheckpointError, 409))


def application(directory: Path, token: str | None) -> Starlette:
    """The server of one index; with a token it answers only clients that present it."""

    async def checkpoint(_: Request) -> Response:
        return PlainTextResponse(await run_in_threadpool(checkpoint_note, directory))

    async def score(request: Request) -> Response:
        stream = await run_in_threadpool(answer, directory, await _body(request))
        return StreamingResponse(stream, media_type=_BINARY)

    return Starlette(
        routes=[
            Route("/checkpoint", _guarded(checkpoint, token), methods=["GET"]),
            Route("/score", _guarded(score, token), methods=["POST"]),
        ]
    )


def _guarded(
    act: Callable[[Request], Awaitable[Response]], token: str | None
) -> Callable[[Request], Awaitable[Response]]:
    """Checks the token first; turns each error into a status and a sentence."""

    async def guarded(request: Request) -> Response:
        shown = request.headers.get("authorization", "")
        if token is not None and not hmac.compare_digest(shown.encode(), f"Bearer {token}".encode()):
            return PlainTextResponse("show the token: set MEDSECURE_TOKEN", 401)
        try:
            return await act(request)
        except OperatorError as error:
            for kind, status in _STATUS:
                if isinstance(error, kind):
                    return PlainTextResponse(str(error), status)
            return PlainTextResponse(f"the replica cannot read its index: {error}", 500)

    return guarded


async def _body(request: Request) -> bytes:
    """The request's bytes, no more than a request for scores can have."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_REQUEST_BYTES:
            raise TooLargeError(f"a request has at most {MAX_REQUEST_BYTES} bytes")
    return bytes(body)
