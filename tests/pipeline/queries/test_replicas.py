"""What the querier of two replicas refuses, and what it never asks: against servers that really listen."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from api.replica import application
from pipeline.queries import search as query
from pipeline.queries.replicas import Access, ReplicaError, replicas
from stages.encrypt.keys.folder import load_owners, new_keys
from stages.index.reader import open_reader
from tests.pipeline.queries.encrypted import append, unit_rows

PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


@contextmanager
def served(index: Path) -> Iterator[str]:
    """A replica of the index, in a thread of this process; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(application(index, None), log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server ended"
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Keys, and a log of three records that goes on in two ways: ``own`` and, longer, ``forked``."""
    new_keys(tmp_path / "keys", None)
    append(tmp_path / "own", tmp_path / "keys", [3])
    shutil.copytree(tmp_path / "own", tmp_path / "forked")
    append(tmp_path / "own", tmp_path / "keys", [2], seed=50)
    append(tmp_path / "forked", tmp_path / "keys", [2, 1], seed=60)
    return tmp_path


def search(folder: Path, one: str, other: str, wait_s: float = 30.0) -> list[int]:
    """Where the nearest three records of the own log stand."""
    reader = open_reader(folder / "own")
    with replicas((one, other), reader, Access(wait_s=wait_s)) as source:
        found = query.search(reader, load_owners(folder / "keys", None), unit_rows(3, 0)[1], 3, source)
    return [hit.index for hit in found.hits]


def test_a_proxy_of_the_environment_gets_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that both requests pass would hold both shares, and so the query."""
    with (
        served(folder / "own") as one,
        served(folder / "own") as other,
        socket.create_server(("127.0.0.1", 0)) as proxy,
    ):
        for name in PROXIES:
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert search(folder, one, other, wait_s=5.0)[0] == 1
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_a_replica_that_refuses_to_score_is_quoted(folder: Path) -> None:
    """Both are longer than the querier's log and agree, but were never at its checkpoint."""
    with (
        served(folder / "forked") as one,
        served(folder / "forked") as other,
        pytest.raises(ReplicaError, match=rf"^{one} refuses \(409\): this replica has 6 records and root"),
    ):
        search(folder, one, other)
