"""``medsecure index serve``."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pipeline.cli.console import Directory, Json, emit
from stages.errors import OperatorError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from uvicorn import Server

_CONCURRENT: Final = 32  # requests at a time; further ones get status 503


def serve(
    directory: Directory,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", help="The port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 0,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", help="The server's certificate chain, PEM.", dir_okay=False),
    ] = None,
    certificate_key: Annotated[
        Path | None, typer.Option("--certificate-key", help="Its private key, PEM.", dir_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Serve an index as one of two replicas for private search.

    Requests must carry MEDSECURE_TOKEN if it is set.

    Example: medsecure index serve index/ --port 8443 --certificate tls.pem --certificate-key tls.key
    """
    from api.replica import application
    from pipeline.queries.replicas import is_loopback
    from stages.index.reader import open_reader

    token = os.environ.get("MEDSECURE_TOKEN") or None
    if (certificate is None) != (certificate_key is None):
        raise OperatorError("--certificate and --certificate-key need each other: give both")
    if not is_loopback(host) and (certificate is None or token is None):
        raise OperatorError(
            f"{host} is not a loopback address: give --certificate and --certificate-key, "
            "and set MEDSECURE_TOKEN"
        )
    reader = open_reader(directory)
    server = _server(application(directory, token), certificate, certificate_key)
    with _listening(host, port) as listener:
        url = f"{'http' if certificate is None else 'https'}://{host}:{listener.getsockname()[1]}"
        if as_json:
            emit({"url": url, "size": reader.size, "root": reader.root.hex()})
        else:
            typer.echo(f"serving {directory} ({reader.size:,} records) at {url}; stop with SIGINT")
        typer.get_text_stream("stdout").flush()
        server.run(sockets=[listener])


def _server(application: Starlette, certificate: Path | None, key: Path | None) -> Server:
    """One that takes up to ``_CONCURRENT`` requests at a time. Raises OperatorError."""
    import uvicorn

    config = uvicorn.Config(
        application,
        log_level="warning",
        ssl_certfile=certificate,
        ssl_keyfile=key,
        limit_concurrency=_CONCURRENT,
        lifespan="off",
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise OperatorError(f"{certificate} and {key} are not a certificate and its private key") from error
    return uvicorn.Server(config)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that is bound and listens, so that its port is known before the first request."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        raise OperatorError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener
