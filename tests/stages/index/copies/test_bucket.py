"""Storage by URI, on a real S3-compatible server too."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import pytest
from pyarrow import fs

from stages.index.check.verify import verify
from stages.index.copies.bucket import MissingError, StoreError, open_store, shown_uri
from stages.index.copies.pull import pull
from stages.index.copies.push import push
from stages.index.erase import erase
from stages.index.log.erasure import Cause
from stages.index.options import IndexOptions
from stages.index.reader import open_reader
from stages.index.session import open_writer
from tests.stages.index.conftest import MakeIndex

SECRET = "s3cr3t"  # noqa: S105 - the server takes any


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URI of an empty bucket on a server of its own."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
        pytest.skip("no S3-compatible server: moto[s3], flask and flask-cors are not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env={**os.environ, "PYTHONPATH": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=5):
                break
            if server.poll() is not None:
                pytest.skip(f"moto's server ended with code {server.returncode}")
            time.sleep(0.1)
        else:
            pytest.skip("moto's server does not answer")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", "someone")
            patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
            patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            end = f"127.0.0.1:{port}"
            made = fs.S3FileSystem(
                endpoint_override=end, scheme="http", region="us-east-1", allow_bucket_creation=True
            )
            made.create_dir("scans")
            yield f"s3://scans/site/index?endpoint_override={end}&scheme=http&region=us-east-1"
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
def test_a_log_goes_to_s3_and_comes_back(
    bucket: str, make_index: MakeIndex, tmp_path: Path, fast_disk: None
) -> None:
    """Pushed, pulled, erased, pushed and pulled again: sound each time, and what was erased is gone there."""
    del fast_disk
    make_index(tmp_path / "index", [300, 20])
    store = open_store(bucket)
    push(tmp_path / "index", store)
    assert push(tmp_path / "index", store).objects == 0
    assert pull(store, tmp_path / "copy").size == 320
    assert verify(tmp_path / "copy").errors == ()
    record = open_reader(tmp_path / "index").record(7)
    column = bytes(record.column_D.data)
    with open_writer(tmp_path / "index", IndexOptions()) as writer:
        erase(writer, {7: record.key}, Cause.REQUEST)
    assert any(column in data for data in everything(bucket).values())
    assert push(tmp_path / "index", store).removed >= 3
    assert not any(column in data for data in everything(bucket).values())
    assert pull(store, tmp_path / "copy").size == 321
    assert verify(tmp_path / "copy").errors == ()


def everything(uri: str) -> dict[str, bytes]:
    files, base = fs.FileSystem.from_uri(uri)
    found = files.get_file_info(fs.FileSelector(base, recursive=True))
    return {one.path: files.open_input_file(one.path).read() for one in found if one.is_file}


def test_large_objects_come_whole(bucket: str) -> None:
    """Beyond what S3 takes in one part."""
    store = open_store(bucket)
    data = os.urandom(1 << 20) * 23
    store.put("blocks/large", data)
    assert store.sizes("blocks")["blocks/large"] == len(data)
    assert store.get("blocks/large", len(data)) == data
    store.remove("blocks/large")
    with pytest.raises(MissingError, match="blocks/large"):
        store.get("blocks/large", 1)


def test_an_error_names_the_object_and_no_secret(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket that is not there: what, where and why, without credentials."""
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    uri = bucket.replace("s3://scans", f"s3://someone:{SECRET}@elsewhere")
    store = open_store(uri)
    with pytest.raises(StoreError) as caught:
        store.put("checkpoint", b"x")
    assert "cannot write checkpoint at s3://elsewhere/site/index" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("uri", [f"s3://u:{SECRET}@", f"nfs://u:{SECRET}@host/a", f"s3://u:{SECRET}@b/a?x=1"])
def test_a_uri_that_cannot_be_used_is_named_without_its_secret(uri: str) -> None:
    """One sentence."""
    with pytest.raises(StoreError) as caught:
        open_store(uri)
    assert SECRET not in str(caught.value)
    assert shown_uri(uri) in str(caught.value)


def test_objects_in_a_folder_are_replaced_whole(tmp_path: Path) -> None:
    """Put, listed, read no further than allowed, removed, twice."""
    store = open_store(f"file://{tmp_path}/a")
    store.put("x/y", b"one")
    store.put("x/y", b"two!")
    assert store.sizes("x") == {"x/y": 4}
    assert store.find("x/y", 4) == b"two!"
    with pytest.raises(ValueError, match="more than 3 bytes"):
        store.find("x/y", 3)
    store.remove("x/y")
    store.remove("x/y")
    assert store.find("x/y", 4) is None
    assert store.sizes("x") == store.sizes("nowhere") == {}
