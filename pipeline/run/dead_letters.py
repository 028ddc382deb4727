"""Dead letters: every row that went no further, by file, frame, stage and reason; kept on site.

A letter names the file, which may name a patient: the store stays with the results, never with the index.
It holds no pixel data. Durable when ``add`` returns.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from stages.database import open_database, writing
from stages.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.engine.accounting import Finished

_NAME = "dead-letters.sqlite"


class NoDeadLettersError(OperatorError):
    """The folder is not the results folder of any run."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One row that went no further."""

    path: str
    frame: int
    key: str  # hex
    stage: str
    reason: str
    detail: str
    counted: bool  # False: the row is indexed, only its delivery failed
    time_s: float  # UNIX time

    def as_json(self) -> dict[str, object]:
        """The letter as plain values; ``key`` stands beside ``record_id`` until 1.0."""
        return {**asdict(self), "record_id": self.key}


class DeadLetters:
    """SQLite in ``DIR/dead-letters.sqlite``; a row has one letter, the newest. One thread at a time.

    Paths are bytes: a file's name need not be UTF-8.
    """

    def __init__(self, results: Path) -> None:
        self._file = results / _NAME
        self._db = open_database(
            self._file,
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
            "CREATE TABLE IF NOT EXISTS letters (path BLOB, frame INT, key TEXT, stage TEXT, reason TEXT,"
            " detail TEXT, counted INT, time_s REAL, PRIMARY KEY (path, frame))",
        )

    def add(self, letters: Iterable[Letter]) -> None:
        """Keep letters; one of the same file and frame is replaced. Raises UnwritableError."""
        with writing(self._file), self._db:
            self._insert(letters)

    def settle(self, unit: Finished, letters: Iterable[Letter]) -> None:
        """Replace the letters of a finished unit: earlier ones are deleted. Raises UnwritableError."""
        places = {(os.fsencode(place.path), place.frame) for piece in unit.pieces for place in piece.places}
        with writing(self._file), self._db:
            self._db.executemany("DELETE FROM letters WHERE path = ? AND frame = ?", sorted(places))
            self._insert(letters)

    def at(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Letter]:
        """The letters of these files and frames, where there are some."""
        query = "SELECT * FROM letters WHERE path = ? AND frame = ?"
        found = [self._db.execute(query, (os.fsencode(path), frame)).fetchone() for path, frame in places]
        return {(one.path, one.frame): one for one in map(_letter, filter(None, found))}

    def _insert(self, letters: Iterable[Letter]) -> None:
        rows = [(os.fsencode(letter.path), *astuple(letter)[1:]) for letter in letters]
        self._db.executemany("INSERT OR REPLACE INTO letters VALUES (?,?,?,?,?,?,?,?)", rows)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read(results: Path) -> list[Letter]:
    """All letters of a results folder, by file and frame. Raises NoDeadLettersError."""
    if not (results / _NAME).is_file():
        raise NoDeadLettersError(f"{results} is not the results folder of a run: it has no {_NAME}")
    try:
        with closing(sqlite3.connect(results / _NAME)) as db:
            rows = db.execute("SELECT * FROM letters ORDER BY path, frame").fetchall()
    except sqlite3.DatabaseError as error:
        raise OperatorError(f"{results / _NAME} is damaged: {error}") from error
    return list(map(_letter, rows))


def _letter(row: tuple[Any, ...]) -> Letter:
    path, frame, key, stage, reason, detail, counted, time_s = row
    return Letter(os.fsdecode(path), frame, key, stage, reason, detail, bool(counted), time_s)
