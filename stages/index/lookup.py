"""Key to log index: a SQLite cache beside the log, never the truth.

It says which prefix of which log it knows (a size and that tree's root). Where that is not a prefix of
this log, it is made again; where it is, only the rest is read. Losing the last commits in a crash is
harmless, so WAL is used without waiting for the disk; ``synchronous=NORMAL`` keeps the file whole.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from stages.index.errors import DamagedError
from stages.index.tiles import Tiles
from stages.index.verifier import EMPTY_ROOT

LOOKUP: Final = "lookup.sqlite"
_SYNCHRONOUS: Final = "NORMAL"  # with WAL: the last commits may be lost, the file stays whole
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS known (size INTEGER NOT NULL, root BLOB NOT NULL);
"""


class StaleError(Exception):
    """The cache is of another log, or of records this log does not have."""


class Lookup:
    """A cache file, open. Not for use by two threads at once."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def find(self, keys: Iterable[bytes]) -> dict[bytes, int]:
        """The keys that are known, with their numbers."""
        found = {}
        for key in keys:
            row = self._db.execute("SELECT number FROM entries WHERE key = ?", (key,)).fetchone()
            if row is not None:
                found[key] = int(row[0])
        return found

    def known(self) -> tuple[int, bytes]:
        """Size and root of the prefix that is known."""
        row = self._db.execute("SELECT size, root FROM known").fetchone()
        return (0, EMPTY_ROOT) if row is None else (int(row[0]), bytes(row[1]))

    def add(self, keys: Iterable[tuple[bytes, int]], size: int, root: bytes) -> None:
        """Learn keys; then the prefix of this size is known."""
        with self._db:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT INTO entries VALUES (?, ?)", keys)
            self._db.execute("DELETE FROM known")
            self._db.execute("INSERT INTO known VALUES (?, ?)", (size, root))

    def catch_up(self, directory: Path, tiles: Tiles) -> None:
        """Learn the rest of a tree of which a prefix is known."""
        size, root = self.known()
        (held,) = self._db.execute("SELECT count(*) FROM entries").fetchone()
        if held != size or size > tiles.size or Tiles(directory, size).root() != root:
            raise StaleError(f"{LOOKUP} is not of this log")
        if size < tiles.size:
            rest = ((key, number) for number, key in enumerate(tiles.keys(size), size))
            self.add(rest, tiles.size, tiles.root())


def open_lookup(directory: Path, tiles: Tiles) -> Lookup:
    """The cache for the writer, knowing all of this tree."""
    path = directory / LOOKUP
    try:
        return _open(path, directory, tiles)
    except (sqlite3.DatabaseError, StaleError, DamagedError):
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return _open(path, directory, tiles)


def _open(path: Path, directory: Path, tiles: Tiles) -> Lookup:
    with ExitStack() as stack:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        stack.callback(db.close)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {_SYNCHRONOUS}")
        db.executescript(_SCHEMA)
        lookup = Lookup(db)
        lookup.catch_up(directory, tiles)
        stack.pop_all()
        return lookup


def peek(directory: Path, key: bytes) -> tuple[int | None, int]:
    """For readers: a key's number where the cache has it, and how many records the cache knows."""
    uri = f"{(directory / LOOKUP).resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as db:
            db.execute("BEGIN")  # one snapshot for both questions
            lookup = Lookup(db)
            return lookup.find([key]).get(key), lookup.known()[0]
    except sqlite3.DatabaseError:  # missing, locked or damaged: the log itself answers
        return None, 0
