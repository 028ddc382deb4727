from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from stages.base import Reason
from stages.ingest.faults import BadData
from stages.ingest.files import open_regular, sha256_of


def test_a_file_is_opened_with_its_size(tmp_path: Path) -> None:
    """And closed again."""
    (tmp_path / "a").write_bytes(b"abc")
    with open_regular(str(tmp_path / "a"), 3) as (stream, size):
        assert (stream.read(), size) == (b"abc", 3)
        assert sha256_of(stream) == hashlib.sha256(b"abc").digest()
    assert stream.closed


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pipe", Reason.UNREADABLE),
        ("folder", Reason.UNREADABLE),
        ("empty", Reason.EMPTY),
        ("large", Reason.TOO_LARGE),
    ],
)
@pytest.mark.timeout(10)
def test_what_cannot_be_an_image_is_refused_at_once(tmp_path: Path, name: str, reason: Reason) -> None:
    """A pipe without a writer would block an ordinary open for ever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(BadData) as caught, open_regular(str(tmp_path / name), 10):
        pass
    assert caught.value.refusal.reason is reason


@pytest.mark.timeout(10)
def test_a_pipe_that_takes_a_file_s_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the opening: neither waited for nor read."""
    (tmp_path / "a").write_bytes(b"abc")
    status = (tmp_path / "a").stat()
    (tmp_path / "a").unlink()
    os.mkfifo(tmp_path / "a")
    monkeypatch.setattr(Path, "stat", lambda _: status)
    with pytest.raises(BadData) as caught, open_regular(str(tmp_path / "a"), 10):
        pass
    assert caught.value.refusal.reason is Reason.UNREADABLE
