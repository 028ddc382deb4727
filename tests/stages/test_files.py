"""Files that a power cut, a full disk or a kill leaves whole."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from stages import files
from tests.stages.steps import FULL, Act, Killed, Watch, content, directory


def whole(file: Path) -> None:
    files.write_whole(file, b"new" * 9999)


def streamed(file: Path) -> None:
    with files.whole_file(file) as stream:
        stream.write(b"new" * 9998)
        stream.write(b"new")


def staged(file: Path) -> None:
    files.write_whole(file, b"new" * 9999, staging=file.parent)


def created(file: Path) -> None:
    files.create(file, b"new" * 9999)


REPLACING = (whole, streamed, staged)
MAKING = (*REPLACING, created, directory)


def outcome(act: Act, folder: Path) -> object:
    """What it leaves when nothing goes wrong."""
    (folder / "reference").mkdir(parents=True)
    act(folder / "reference" / "file")
    return content(folder / "reference" / "file")


def failures(act: Act, folder: Path, old: bytes | None, failure: BaseException = FULL) -> Iterator[Path]:
    """The file after each step of the act failed in turn, and at last after none did."""
    for step in count():
        file = folder / str(step) / "file"
        file.parent.mkdir(parents=True)
        if old is not None:
            file.write_bytes(old)
        with pytest.MonkeyPatch.context() as patch:
            watch = Watch(patch, step, failure)
            with suppress(type(failure)):
                act(file)
        yield file
        if not watch.met:
            return


@pytest.mark.parametrize("act", REPLACING)
def test_a_failure_at_any_step_leaves_the_old_file_or_the_new_one(act: Act, tmp_path: Path) -> None:
    """Never a part of it, and nothing temporary beside it."""
    new = outcome(act, tmp_path)
    found = [(content(file), content(file.parent)) for file in failures(act, tmp_path, b"old")]
    assert len(found) > 4
    assert {one for one, _ in found} == {b"old", new}
    assert all(beside == {"file": one} for one, beside in found)


@pytest.mark.parametrize("act", MAKING)
def test_a_failure_at_any_step_leaves_no_file_or_a_whole_one(act: Act, tmp_path: Path) -> None:
    """Where there was none before."""
    new = outcome(act, tmp_path)
    left = list(failures(act, tmp_path, None))
    assert len(left) > 4
    assert all(content(file) in (None, new) for file in left)
    assert {path.name for file in left for path in file.parent.iterdir()} == {"file"}


@pytest.mark.parametrize("act", MAKING)
def test_a_kill_at_any_step_leaves_no_part_and_the_next_writer_cleans_up(act: Act, tmp_path: Path) -> None:
    """A killed process removes nothing; its temporary files go when the same name is written again."""
    new = outcome(act, tmp_path)
    parts = 0
    for file in failures(act, tmp_path, None, Killed()):
        assert content(file) in (None, new)
        parts += any(path.suffix == ".part" for path in file.parent.iterdir())
        if file.exists():  # for those that make what is not there yet
            file.rename(tmp_path / f"moved {file.parent.name}")
        act(file)
        assert content(file) == new
        assert [path.name for path in file.parent.iterdir()] == ["file"]
    assert parts > 1


@pytest.mark.parametrize("act", [whole, streamed])
def test_bytes_are_durable_before_the_name_and_the_name_before_the_return(
    act: Act, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is synced, then renamed, then its directory is synced, in this order."""
    watch = Watch(monkeypatch)
    act(tmp_path / "file")
    assert [one for one in watch.seen if one[0] != "open"] == [
        ("fsync", "part"),
        ("replace", "part"),
        ("fsync", tmp_path.name),
    ]


def test_a_created_file_is_durable_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linked after its sync; the directory is synced last."""
    watch = Watch(monkeypatch)
    files.create(tmp_path / "file", b"new")
    names = [one for one in watch.seen if one[0] != "open"]
    assert names == [("fsync", "part"), ("link", "part"), ("unlink", "part"), ("fsync", tmp_path.name)]


@pytest.mark.parametrize(
    "write",
    [
        partial(files.write_whole, data=b"secret", mode=files.SECRET),
        partial(files.create, data=b"secret", mode=files.SECRET),
    ],
)
def test_a_secret_is_nobody_elses_from_its_first_byte(
    write: Act, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is opened has its mode at once, under a umask that takes nothing away."""
    modes = []
    real = os.open

    def spy(path: Any, flags: int, *args: Any, **more: Any) -> int:
        descriptor = real(path, flags, *args, **more)
        if flags & os.O_CREAT:
            modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", spy)
    umask = os.umask(0)
    try:
        write(tmp_path / "key")
    finally:
        os.umask(umask)
    assert modes == [0o600]
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_an_exception_in_the_block_changes_nothing(tmp_path: Path) -> None:
    """Neither a file nor a directory appears, and nothing temporary stays."""
    with suppress(KeyboardInterrupt), files.whole_file(tmp_path / "file") as stream:
        stream.write(b"half")
        raise KeyboardInterrupt
    with suppress(KeyboardInterrupt), files.whole_directory(tmp_path / "made") as made:
        (made / "half").touch()
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_created_file_overwrites_nothing(tmp_path: Path) -> None:
    """The old one stays, and nothing beside it."""
    files.create(tmp_path / "file", b"old")
    with pytest.raises(FileExistsError):
        files.create(tmp_path / "file", b"new")
    assert content(tmp_path) == {"file": b"old"}


def test_of_two_writers_at_once_one_fails_and_neither_leaves_a_part(tmp_path: Path) -> None:
    """The second takes the first one's temporary file for that of a killed process."""

    def both() -> None:
        with files.whole_file(tmp_path / "file") as stream:
            stream.write(b"first")
            files.write_whole(tmp_path / "file", b"second")

    with pytest.raises(FileNotFoundError):
        both()
    assert content(tmp_path) == {"file": b"second"}


def test_only_what_was_left_of_the_same_name_is_removed(tmp_path: Path) -> None:
    """A name that begins alike is another file's, and may be written right now."""
    with files.whole_file(tmp_path / "file.json") as stream:
        stream.write(b"longer")
        files.write_whole(tmp_path / "file", b"short")
    assert content(tmp_path) == {"file": b"short", "file.json": b"longer"}


def test_what_is_not_secret_is_for_everybody_to_read(tmp_path: Path) -> None:
    """Nobody else changes a file; who enters a folder is for the umask to say."""
    umask = os.umask(0)
    try:
        files.make_directory(tmp_path / "deep")
        files.write_whole(tmp_path / "deep" / "file", b"")
        with files.whole_directory(tmp_path / "made"):
            pass
    finally:
        os.umask(umask)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("deep/file", "deep", "made")]
    assert modes == [0o644, 0o777, 0o777]


def test_a_device_or_a_pipe_is_never_renamed_over(tmp_path: Path) -> None:
    """Nor is a directory; each of them is as before."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(OSError, match="not a regular file"):
            files.write_whole(tmp_path / name, b"data")
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]


def test_a_temporary_file_lies_in_the_staging_directory(tmp_path: Path) -> None:
    """Beside the file there is nothing, not even while it is written."""
    (tmp_path / "staging").mkdir()
    with files.whole_file(tmp_path / "file", staging=tmp_path / "staging") as stream:
        stream.write(b"data")
        assert [path.name for path in tmp_path.iterdir()] == ["staging"]
        assert len(list((tmp_path / "staging").iterdir())) == 1
    assert content(tmp_path) == {"staging": True, "file": b"data"}
