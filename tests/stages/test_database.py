"""SQLite files on a disk that is full, fails, or holds something else."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from stages.database import open_database, writing
from stages.errors import OperatorError, UnwritableError
from tests.conftest import SmallDisk

SCRIPT = "PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t (a BLOB)"


def add(db: sqlite3.Connection, file: Path, row: bytes) -> None:
    with writing(file), db:
        db.execute("INSERT INTO t VALUES (?)", (row,))


def test_a_full_disk_is_one_sentence_and_what_was_there_stays(small_disk: SmallDisk) -> None:
    """The failed row is not there; once there is room the file goes on."""
    file = small_disk.path / "a.sqlite"
    with closing(open_database(file, SCRIPT)) as db:
        add(db, file, b"first")
        small_disk.fill_up()
        with pytest.raises(UnwritableError, match=rf"^{file} cannot be written: database or disk is full$"):
            add(db, file, bytes(99_999))
        small_disk.make_room()
        add(db, file, b"last")
        assert db.execute("SELECT a FROM t").fetchall() == [(b"first",), (b"last",)]


def test_a_database_cannot_be_made_on_a_full_disk(small_disk: SmallDisk) -> None:
    """It is not called damaged: nobody should move it away."""
    small_disk.fill_up()
    with pytest.raises(UnwritableError, match=r"b\.sqlite cannot be written: "):
        open_database(small_disk.path / "b.sqlite", SCRIPT)


def test_a_folder_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    """As one without rights to it."""
    with pytest.raises(UnwritableError, match=r"b\.sqlite cannot be written: unable to open database file"):
        open_database(tmp_path / "gone" / "b.sqlite", SCRIPT)


def test_another_file_is_damaged(tmp_path: Path) -> None:
    """To be moved away."""
    (tmp_path / "b.sqlite").write_bytes(b"not a database" * 999)
    with pytest.raises(OperatorError, match=r"b\.sqlite is damaged: move it away"):
        open_database(tmp_path / "b.sqlite", SCRIPT)


def test_a_bug_is_not_the_disk_s_fault(tmp_path: Path) -> None:
    """It stays what it is."""
    file = tmp_path / "a.sqlite"
    with (
        closing(open_database(file, SCRIPT)) as db,
        pytest.raises(sqlite3.OperationalError, match="no such table"),
        writing(file),
    ):
        db.execute("INSERT INTO u VALUES (1)")
