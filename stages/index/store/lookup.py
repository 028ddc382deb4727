"""Record id to log index: a SQLite cache of the log, never authoritative.

It holds every record's id (``key`` in the table), and whether the record was erased. Table ``known`` states
the prefix of the log that the cache covers (a size and that tree's root). If this is no prefix of the log,
the cache is built again; if it is, only the rest is read. Losing the last commits in a crash is harmless, so
WAL is used without waiting for the disk; ``synchronous=NORMAL`` keeps the file consistent.

SQLite has no checksum, and slack that no query reads. So a writer that closes in order writes the file's
digest beside it, for ``fsck``; the next writer removes the digest before it writes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Final

from stages.database import writing
from stages.files import sync_directory, write_whole
from stages.index.errors import DamagedError
from stages.index.store.identity import STAGING
from stages.index.store.tiles import Tiles
from stages.index.verifier import EMPTY_ROOT

LOOKUP: Final = "lookup.sqlite"
LOOKUP_SUM: Final = "lookup.sum"
_FILES: Final = (LOOKUP_SUM, LOOKUP, f"{LOOKUP}-wal", f"{LOOKUP}-shm")
_SYNCHRONOUS: Final = "NORMAL"  # with WAL: the last commits may be lost, the file stays whole
_KEYS_A_SELECT: Final = 512  # keys in one SELECT
_CACHE_KIB: Final = 1 << 15
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entries (
  key BLOB PRIMARY KEY, number INTEGER NOT NULL, erased INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS known (size INTEGER NOT NULL, root BLOB NOT NULL, held INTEGER NOT NULL);
"""
# One statement inserts all keys, so the GIL is released throughout; sorted, so that each page of the table is
# written once. ``n`` counts the keys, and ``substr`` (from 1) cuts key i out of their concatenation.
# Example: :count = 2, :first = 70 and :keys = B A, two keys of 32 bytes. n is 0, 1; substr gives B at byte 1
# and A at byte 33, with the numbers 70 and 71; sorted, the rows are (A, 71, 0) and (B, 70, 0). A key that the
# table holds already is ignored, so its first number stays.
_LEARN: Final = """
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :count)
INSERT OR IGNORE INTO entries SELECT substr(:keys, 32 * i + 1, 32) AS key, :first + i, 0 FROM n ORDER BY key
"""


class StaleError(Exception):
    """The cache is of another log, or covers records that this log does not have."""


@dataclass(frozen=True, slots=True)
class Known:
    """A key's row in the cache."""

    number: int
    erased: bool


class Lookup:
    """An open cache file. One thread may find while another adds."""

    def __init__(
        self, directory: Path, db: sqlite3.Connection, reading: sqlite3.Connection, ours: Callable[[], bool]
    ) -> None:
        self._directory = directory
        self._ours = ours
        self._db = db
        self._reading = reading
        self._summed = (directory / LOOKUP_SUM).exists()

    def close(self) -> None:
        """Release the file, and write its digest if the file has changed."""
        self._reading.close()
        with suppress(sqlite3.Error, OSError):  # a missing digest is no error
            (busy,) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[:1]
            if not busy and not self._summed and self._ours():
                self._sum()
        self._db.close()

    def _sum(self) -> None:
        """Write the digest, once the file holds everything."""
        home = self._directory
        write_whole(home / LOOKUP_SUM, encode_sum(home), staging=home / STAGING)

    def _change(self) -> None:
        """Remove the digest, durably, before the first change."""
        if self._summed:
            (self._directory / LOOKUP_SUM).unlink(missing_ok=True)
            sync_directory(self._directory)
            self._summed = False

    def find(self, keys: Iterable[bytes]) -> dict[bytes, Known]:
        """Number and erasure of those keys that the cache holds."""
        return _find(self._reading, list(keys))

    def known(self) -> tuple[int, bytes]:
        """Size and root of the prefix that the cache covers."""
        size, root, _ = _known(self._db)
        return size, root

    def add(
        self, keys: Iterable[tuple[bytes, int]], size: int, root: bytes, erased: Iterable[bytes] = ()
    ) -> None:
        """Insert keys, mark the erased ones, and set the covered prefix to this size.

        Raises UnwritableError where the disk is full or fails: nothing of it is inserted then.
        """
        rows = list(keys)
        self._change()
        with writing(self._directory / LOOKUP), self._db:
            self._db.execute("BEGIN")
            held = _known(self._db)[2]
            for first, run in _runs(rows):
                learn = {"count": len(run), "keys": b"".join(run), "first": first}
                held += self._db.execute(_LEARN, learn).rowcount  # a repeated key adds no row
            self._db.executemany("UPDATE entries SET erased = 1 WHERE key = ?", ((key,) for key in erased))
            self._db.execute("DELETE FROM known")
            self._db.execute("INSERT INTO known VALUES (?, ?, ?)", (size, root, held))

    def catch_up(self, directory: Path, tiles: Tiles) -> None:
        """Insert the rest of a tree of which the cache covers a prefix. Raises StaleError."""
        size, root, held = _known(self._db)
        (rows,) = self._db.execute("SELECT count(*) FROM entries").fetchone()
        if rows != held or size > tiles.size or Tiles(directory, size).root() != root:
            raise StaleError(f"{LOOKUP} is not of this log")
        if size < tiles.size:
            keys = [(key, number) for number, key in tiles.keys(size)]
            erased = [entry.key for _, entry in tiles.erasures(size)]
            self.add(keys, tiles.size, tiles.root(), erased)


def _runs(rows: Sequence[tuple[bytes, int]]) -> Iterator[tuple[int, list[bytes]]]:
    """Runs of keys with consecutive numbers, each behind its first number."""
    start = 0
    for place in range(1, len(rows) + 1):
        if place == len(rows) or rows[place][1] != rows[place - 1][1] + 1:
            yield rows[start][1], [key for key, _ in rows[start:place]]
            start = place


def _find(db: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, Known]:
    found = {}
    for start in range(0, len(keys), _KEYS_A_SELECT):
        some = keys[start : start + _KEYS_A_SELECT]
        marks = ",".join("?" * len(some))
        rows = db.execute(f"SELECT key, number, erased FROM entries WHERE key IN ({marks})", some)  # noqa: S608
        found.update({bytes(key): Known(number, bool(erased)) for key, number, erased in rows})
    return found


def _known(db: sqlite3.Connection) -> tuple[int, bytes, int]:
    """Size and root of the prefix that the cache covers, and its number of keys."""
    row = db.execute("SELECT size, root, held FROM known").fetchone()
    return (0, EMPTY_ROOT, 0) if row is None else (int(row[0]), bytes(row[1]), int(row[2]))


def encode_sum(directory: Path) -> bytes:
    """The content of the digest's file: its own digest, then that of the cache."""
    with (directory / LOOKUP).open("rb") as file:
        line = f"{file_digest(file, 'sha256').hexdigest()}  {LOOKUP}\n".encode()
    return sha256(line).hexdigest().encode() + b"\n" + line


def is_sum(data: bytes) -> bool:
    """Whether these bytes are a digest's file, of any cache."""
    own, _, line = data.partition(b"\n")
    return sha256(line).hexdigest().encode() == own


def remove_lookup(directory: Path) -> None:
    """Remove the cache: the next writer builds it again."""
    for name in _FILES:
        (directory / name).unlink(missing_ok=True)


def open_lookup(directory: Path, tiles: Tiles, ours: Callable[[], bool] = lambda: True) -> Lookup:
    """The cache for the writer, covering all of this tree; built again if its digest is another than noted.

    ``ours`` returns whether the index's lock is still held: if not, ``close`` writes no digest.
    """
    try:
        return _open(directory, tiles, ours)
    except (sqlite3.DatabaseError, StaleError, DamagedError):
        remove_lookup(directory)
        return _open(directory, tiles, ours)


def _open(directory: Path, tiles: Tiles, ours: Callable[[], bool]) -> Lookup:
    path, noted = directory / LOOKUP, directory / LOOKUP_SUM
    if not path.exists():
        remove_lookup(directory)
    elif noted.exists() and noted.read_bytes() != encode_sum(directory):
        raise StaleError(f"{LOOKUP} differs from its digest")
    with ExitStack() as stack:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        stack.callback(db.close)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {_SYNCHRONOUS}")
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        db.executescript(_SCHEMA)
        reading = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        stack.callback(reading.close)
        lookup = Lookup(directory, db, reading, ours)
        lookup.catch_up(directory, tiles)
        stack.pop_all()
        return lookup


class Peek:
    """The cache for readers, if there is one. The first lookup opens it."""

    def __init__(self, directory: Path) -> None:
        self._uri = f"{(directory / LOOKUP).resolve().as_uri()}?mode=ro"
        self._db: sqlite3.Connection | None = None

    def find(self, key: bytes) -> tuple[Known | None, int]:
        """A key's row, if the cache has one, and how many entries of the log the cache covers."""
        try:
            if self._db is None:
                self._db = sqlite3.connect(self._uri, uri=True, isolation_level=None, check_same_thread=False)
            with self._db:
                self._db.execute("BEGIN")  # one snapshot for both SELECTs
                return _find(self._db, [key]).get(key), _known(self._db)[0]
        except sqlite3.DatabaseError:  # missing, locked or damaged: the caller reads the log
            self.close()
            return None, 0

    def close(self) -> None:
        """Release the file."""
        if self._db is not None:
            self._db.close()
            self._db = None
