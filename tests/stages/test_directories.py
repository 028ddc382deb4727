"""Directories that a power cut, a full disk or a kill leaves whole."""

from __future__ import annotations

import stat
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from stages import files
from tests.stages.steps import FULL, Killed, Watch, content, directory


def test_a_directory_and_all_that_is_in_it_are_durable_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files below, directories below, itself; then the rename, then the directory above."""
    watch = Watch(monkeypatch)
    directory(tmp_path / "made")
    synced = [name for call, name in watch.seen if call == "fsync"]
    assert {"a", "b", "sub", "part"} < set(synced)
    assert watch.seen[-3:] == [("replace", "part"), ("open", tmp_path.name), ("fsync", tmp_path.name)]


def swapped(file: Path) -> None:
    """Here the file is a directory, which may be there already."""
    staging = file.parent / "staging"
    staging.mkdir(exist_ok=True)
    files.restore_directory(file, staging)
    with files.part_directory(file, staging) as part:
        (part / "a").write_bytes(b"new")
        (part / "sub").mkdir()
        (part / "sub" / "b").write_bytes(b"new")
        if file.exists():
            files.replace_directory(part, file)
        else:
            files.place_directory(part, file)


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two renames"])
@pytest.mark.parametrize("failure", [FULL, Killed()], ids=["full", "killed"])
def test_a_directory_is_replaced_as_a_whole_or_not_at_all(
    failure: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, exchange: bool
) -> None:
    """Whatever step fails: the old or the new one, whole; the next try leaves the new one alone."""
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda _one, _other: False)
    new = {"a": b"new", "sub": True, "sub/b": b"new"}
    found = []
    for step in count():
        directory = tmp_path / str(step) / "file"
        directory.mkdir(parents=True)
        (directory / "a").write_bytes(b"old")
        (directory / "stale").write_bytes(b"old")
        (directory.parent / "staging").mkdir()
        with pytest.MonkeyPatch.context() as patch:
            watch = Watch(patch, step, failure)
            with suppress(type(failure)):
                swapped(directory)
        if exchange:
            assert content(directory) in ({"a": b"old", "stale": b"old"}, new)
        files.restore_directory(directory, directory.parent / "staging")
        assert content(directory) in ({"a": b"old", "stale": b"old"}, new)
        found.append(content(directory) == new)
        swapped(directory)
        assert content(directory.parent) == {"staging": True, "file": True} | {
            f"file/{name}": one for name, one in new.items()
        }
        if not watch.met:
            break
    assert set(found) == {True, False}
    assert len(found) > 8


def test_names_are_exchanged_where_the_file_system_can(tmp_path: Path) -> None:
    """No reader ever finds the directory missing; a missing name is an error, not a fallback."""
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert files._exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "b").exists()
    with pytest.raises(FileNotFoundError):
        files._exchange(tmp_path / "a", tmp_path / "c")


def test_what_a_killed_process_left_of_a_folder_is_removed(tmp_path: Path) -> None:
    """By the next writer of the same folder, with all that is in it."""
    left = files._part(tmp_path, "out")
    (left / "deep").mkdir(parents=True)
    (left / "deep" / "file").touch()
    with files.whole_directory(tmp_path / "out") as part:
        (part / "file").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_directory_is_made_durably_with_those_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every directory that has a new name in it is synced; where all are there, none is."""
    watch = Watch(monkeypatch)
    for _ in range(2):
        files.make_directory(tmp_path / "a" / "b" / "c", 0o700)
    synced = sorted(name for call, name in watch.seen if call == "fsync")
    assert synced == sorted([tmp_path.name, "a", "b"])
    assert stat.S_IMODE((tmp_path / "a" / "b" / "c").stat().st_mode) == 0o700
