"""Replicas on the loopback address: the command as a process, its application here, and one that lies."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import uvicorn

from api.replica import application

ROOT = Path(__file__).resolve().parents[2]

Serve = Callable[..., str]


@pytest.fixture(scope="session")
def serve() -> Iterator[Serve]:
    """Starts ``medsecure index serve``; its URL, once it listens. ``env`` adds to the environment."""
    started: list[subprocess.Popen[str]] = []

    def start(index: Path, *options: object, env: dict[str, str] | None = None) -> str:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "index", "serve", index, "--json", *map(str, options)],
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            line = process.stdout.readline()
            assert line, "the server ended"
            text += line
        return str(json.loads(text)["url"])

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(20)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="session")
def replica() -> Iterator[Serve]:
    """Starts what ``medsecure index serve`` runs, on a thread of this process; its URL."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(index: Path) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(application(index, None), log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join()


@contextmanager
def scripted(checkpoint: bytes, score: Callable[[bytes], bytes], *, claimed: int = 0) -> Iterator[str]:
    """A server with a genuine checkpoint that answers a question with any bytes, claiming some more."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(checkpoint, 0)

        def do_POST(self) -> None:
            self.answer(score(self.rfile.read(int(self.headers["content-length"]))), claimed)

        def answer(self, body: bytes, more: int) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body) + more))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
