"""The copy that follows the writer."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from stages.errors import OperatorError
from stages.index.check.verify import verify
from stages.index.copies import mirror
from stages.index.copies.bucket import open_store, refuse_secret
from stages.index.copies.mirror import mirrored
from stages.index.copies.pull import pull
from stages.index.options import IndexOptions
from stages.index.session import open_writer
from tests.stages.index.conftest import MakeBlock

pytestmark = pytest.mark.usefixtures("fast_disk")
SMALL = IndexOptions(segment_bytes=1 << 13)


def append(index: Path, uri: str, make_block: MakeBlock, first: int, *, wait_for: Path | None = None) -> None:
    with mirrored(index, uri) as appended, open_writer(index, SMALL) as writer:
        for seed in range(first, first + 3):
            writer.append(make_block(seed, 200))
            appended()
        until_s = time.monotonic() + 20
        while wait_for is not None and not wait_for.exists() and time.monotonic() < until_s:
            time.sleep(0.02)
        assert wait_for is None or wait_for.exists()


def test_a_full_segment_is_pushed_while_the_writer_appends(
    tmp_path: Path, make_block: MakeBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And everything when it closes, so that the copy there is the log."""
    monkeypatch.setattr(mirror, "_LOOK_S", 0.01)
    append(
        tmp_path / "index", str(tmp_path / "there"), make_block, 0, wait_for=tmp_path / "there" / "checkpoint"
    )
    assert pull(open_store(str(tmp_path / "there")), tmp_path / "copy").size == 600
    assert verify(tmp_path / "copy").errors == ()
    assert (tmp_path / "copy" / "checkpoint").read_bytes() == (tmp_path / "index" / "checkpoint").read_bytes()


def test_a_push_that_fails_is_told_and_made_up_for(
    tmp_path: Path, make_block: MakeBlock, caplog: pytest.LogCaptureFixture
) -> None:
    """The appends go on; what was missed goes with the next one."""
    (tmp_path / "there").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        append(tmp_path / "index", str(tmp_path / "there"), make_block, 0)
    assert "lies behind until the next push" in caplog.text
    assert str(tmp_path / "there") in caplog.text
    (tmp_path / "there").unlink()
    append(tmp_path / "index", str(tmp_path / "there"), make_block, 3)
    assert pull(open_store(str(tmp_path / "there")), tmp_path / "copy").size == 1200


def test_a_password_does_not_belong_into_the_configuration(tmp_path: Path) -> None:
    """It is refused, and not repeated."""
    with (
        pytest.raises(OperatorError, match="s3://b/i comes with a key or password") as caught,
        mirrored(tmp_path, "s3://me:s3cr3t@b/i"),
    ):
        pass
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("uri", ["s3://AKIA:ab/cd+ef@b/i", "s3://AKIA@b/i", "abfs://me:s3c/ret@c.example/i"])
def test_a_secret_is_found_whatever_its_letters(uri: str) -> None:
    """An AWS secret may hold a slash, where no URI may."""
    with pytest.raises(OperatorError) as caught:
        refuse_secret(uri)
    assert not any(part in str(caught.value) for part in ("AKIA", "ab/cd", "s3c"))


def test_without_a_place_nothing_is_pushed(tmp_path: Path) -> None:
    """No thread, no copy."""
    with mirrored(tmp_path, None) as appended:
        appended()
    assert not list(tmp_path.iterdir())
