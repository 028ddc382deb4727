"""SQLite files: what a full or failing disk does to them, in one sentence.

A statement that fails is rolled back, and what was committed before stays.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from stages.errors import OperatorError, UnwritableError

_PRIMARY: Final = 0xFF  # the low byte of an extended result code
_OF_DISK: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
    }
)


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Raise UnwritableError where the disk under this database is full or fails; any other error passes."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & _PRIMARY not in _OF_DISK:
            raise
        raise UnwritableError(f"{file} cannot be written: {error}") from error


def open_database(file: Path, script: str) -> sqlite3.Connection:
    """Open or make a database of a results folder and run this script.

    Raises UnwritableError, and OperatorError where the file is none.
    """
    with writing(file), ExitStack() as stack:
        db = sqlite3.connect(file, check_same_thread=False)
        stack.callback(db.close)
        try:
            db.executescript(script)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            raise OperatorError(f"{file} is damaged: move it away, or choose other results") from error
        stack.pop_all()
    return db
