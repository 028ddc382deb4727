"""Files that are old or new, and the lock."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from stages.index.errors import BusyError
from stages.index.store.durable import (
    is_lock_text,
    locked,
    publish,
    replace_files,
    staged,
    sync_files,
    write_at,
)


def hold(path: Path, pipe: Connection) -> None:
    with locked(path, 0):
        pipe.send("held")
        pipe.recv()


def test_files_appear_whole_and_only_when_published(tmp_path: Path) -> None:
    """Until then the old file is there; directories are made on the way."""
    old, new = tmp_path / "old", tmp_path / "a" / "b" / "new"
    old.write_bytes(b"before")
    with ThreadPoolExecutor(2) as pool, staged(tmp_path, [(old, b"after"), (new, b"x" * 100_000)]) as files:
        sync_files(pool, [file.fd for file in files])
        assert old.read_bytes() == b"before"
        assert not new.exists()
        publish(pool, files)
    assert old.read_bytes() == b"after"
    assert new.read_bytes() == b"x" * 100_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "old"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may take less than it is given."""
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: whole(fd, data[:7], at))
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    write_at(fd, bytes(range(100)), 3)
    os.close(fd)
    assert (tmp_path / "file").read_bytes() == bytes(3) + bytes(range(100))


def test_a_second_writer_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    """By pid; and the lock goes with the process, however it ends."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=hold, args=(tmp_path / "lock", there))
    process.start()
    assert here.recv() == "held"
    with (
        pytest.raises(BusyError, match=f"another writer holds .*: epoch 1, pid {process.pid} on "),
        locked(tmp_path / "lock", 0),
    ):
        pass
    process.kill()
    with locked(tmp_path / "lock", 5):  # the successor waits for the process to be gone
        assert (tmp_path / "lock").read_text().startswith(f"epoch 2, pid {os.getpid()} on ")
    process.join()


def test_the_lock_is_released_in_the_end(tmp_path: Path) -> None:
    """Also after an exception."""
    with pytest.raises(RuntimeError), locked(tmp_path / "lock", 0):
        raise RuntimeError
    with locked(tmp_path / "lock", 0):
        pass


def test_a_lock_that_was_taken_away_is_noticed(tmp_path: Path) -> None:
    """The file was removed, made again, or carries another epoch."""
    lock = tmp_path / "lock"
    with locked(lock, 0) as fence:
        fence.check()
        text = lock.read_bytes()
        lock.write_bytes(text.replace(b"epoch 1", b"epoch 2"))
        with pytest.raises(BusyError, match="was taken from this writer"):
            fence.check()
        lock.write_bytes(text)
        fence.check()
        lock.unlink()
        with pytest.raises(BusyError, match="was taken from this writer"):
            fence.check()
        with locked(lock, 0) as later:
            later.check()
            with pytest.raises(BusyError, match="was taken from this writer"):
                fence.check()


def test_a_file_stays_when_the_lock_is_taken_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is looked at again when the new bytes are durable, before they take the place of the old."""
    file, lock = tmp_path / "file", tmp_path / "lock"
    file.write_bytes(b"of the other writer")
    sync = os.fdatasync

    def slow(fd: int) -> None:
        lock.unlink()
        sync(fd)

    with ThreadPoolExecutor(2) as pool, locked(lock, 0) as fence:
        monkeypatch.setattr(os, "fdatasync", slow)
        with pytest.raises(BusyError, match="was taken from this writer"):
            replace_files(pool, tmp_path, [(file, b"late")], fence)
    assert file.read_bytes() == b"of the other writer"


def test_a_lock_file_says_when_it_is_damaged(tmp_path: Path) -> None:
    """No bit of it is free; a writer that died before it wrote leaves none."""
    with locked(tmp_path / "lock", 0.0):
        text = (tmp_path / "lock").read_bytes()
    assert is_lock_text(text)
    assert is_lock_text(b"")
    flipped = [
        text[:i] + bytes([text[i] ^ 1 << bit]) + text[i + 1 :] for i in range(len(text)) for bit in range(8)
    ]
    assert not any(map(is_lock_text, [*flipped, text[:-1], text + b"\n", b"\n"]))
