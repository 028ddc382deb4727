"""The headers of a whole source in a temporary SQLite file, so that memory does not grow with the source."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, Self

from stages.database import writing
from stages.errors import UnwritableError
from stages.ingest.acquisition import Acquisition
from stages.ingest.slices import Slice
from stages.places import FileKind, Place

DICOMDIR: Final = "DICOMDIR"
_TOGETHER: Final = 1000  # rows of one transaction
_PAGE: Final = 200  # names in memory at a time
_SCRIPT: Final = """
PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-32000;
CREATE TABLE slices (
  series BLOB, key BLOB, path BLOB, frame INT, kind TEXT, header TEXT,
  given INT DEFAULT 0, contested INT DEFAULT 0
);
CREATE INDEX by_series ON slices (series, path);
CREATE INDEX waiting ON slices (series) WHERE NOT given;
CREATE INDEX by_key ON slices (key);
CREATE TABLE whole (series BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE named (path BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE listed (path BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE walked (inode TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE entries (folder BLOB, below INT, name BLOB, PRIMARY KEY (folder, below, name)) WITHOUT ROWID;
"""


class Catalogue:
    """Slices by series, in the order in which they were found. A context manager; one thread at a time.

    The file is written and read by one process and goes with it: nothing of it has to survive a crash. Where
    its disk is full or fails, the context ends with UnwritableError.
    """

    def __init__(self) -> None:
        with ExitStack() as stack:
            file = Path(stack.enter_context(_folder())) / "headers.sqlite"
            self._db = sqlite3.connect(file, check_same_thread=False)
            stack.callback(self._db.close)
            stack.enter_context(writing(file))
            self._db.executescript(_SCRIPT)
            self._closing = stack.pop_all()
        self._lists = False
        self._waiting: list[tuple[Any, ...]] = []

    def add(self, series: bytes, slices: Iterable[Slice]) -> None:
        """Keep slices of a series that may have more of them."""
        self._waiting += [(series, *_row(one)) for one in slices]
        if len(self._waiting) >= _TOGETHER:
            self._write()

    def is_new(self, series: bytes) -> bool:
        """Whether a series that is one file is seen for the first time; from now on it is known."""
        return self._db.execute("INSERT OR IGNORE INTO whole VALUES (?)", (series,)).rowcount == 1

    def name(self, paths: Iterable[Path]) -> None:
        """Keep which files and folders the sources name, before any of them is looked at."""
        self._db.executemany("INSERT OR IGNORE INTO named VALUES (?)", ((_bytes(path),) for path in paths))

    def is_within(self, path: Path) -> bool:
        """Whether the sources name a file, or a folder that it is in."""
        query = "SELECT 1 FROM named WHERE path = ?"
        above = (path, *path.parents)
        return any(self._db.execute(query, (_bytes(one),)).fetchone() for one in above)

    def list_file(self, path: Path) -> bool:
        """Whether a file that is named by itself is named for the first time; from now on it is known."""
        self._lists = True
        return self._db.execute("INSERT OR IGNORE INTO listed VALUES (?)", (_bytes(path),)).rowcount == 1

    def is_listed(self, path: Path) -> bool:
        """Whether a file that was found in a folder was named by itself before."""
        query = "SELECT 1 FROM listed WHERE path = ?"
        return self._lists and self._db.execute(query, (_bytes(path),)).fetchone() is not None

    def list_folder(self, folder: Path) -> bool:
        """Keep the names of what a folder holds; False where it was listed before, by whatever path.

        Raises OSError where it cannot be listed.
        """
        status = folder.stat()
        inode = (f"{status.st_dev} {status.st_ino}",)  # either may be beyond SQLite's integers
        with os.scandir(folder) as found:
            if self._db.execute("INSERT OR IGNORE INTO walked VALUES (?)", inode).rowcount == 0:
                return False
            home = _bytes(folder)
            rows = ((home, is_folder(entry), os.fsencode(entry.name)) for entry in found)
            self._db.executemany("INSERT OR IGNORE INTO entries VALUES (?,?,?)", rows)
        return True

    def directories(self, folder: Path) -> list[Path]:
        """The DICOMDIR of a listed folder, however it is written."""
        query = "SELECT name FROM entries WHERE folder = ? AND NOT below AND UPPER(CAST(name AS TEXT)) = ?"
        return [folder / os.fsdecode(name) for (name,) in self._db.execute(query, (_bytes(folder), DICOMDIR))]

    def inside(self, folder: Path, *, below: bool) -> Iterator[Path]:
        """The files of a listed folder, or the folders below it, by name; then they are forgotten."""
        query = "SELECT name FROM entries WHERE folder = ? AND below = ? AND name > ? ORDER BY name LIMIT ?"
        home, last = _bytes(folder), b""
        while rows := self._db.execute(query, (home, below, last, _PAGE)).fetchall():
            yield from (folder / os.fsdecode(name) for (name,) in rows)
            (last,) = rows[-1]
        self._db.execute("DELETE FROM entries WHERE folder = ? AND below = ?", (home, below))

    def count(self) -> int:
        """How many slices were found so far; what is found later comes behind them."""
        self._write()
        (last,) = self._db.execute("SELECT COALESCE(MAX(rowid), 0) FROM slices").fetchone()
        return int(last)

    def waiting(self, since: int = 0) -> list[bytes]:
        """The series that have slices which were not given yet, in the order in which they were found.

        Of those, the ones found behind the first ``since`` slices only.
        """
        self._write()
        # By number where few are asked for, else by the index of those that wait: neither reads the others.
        some = "NOT INDEXED WHERE rowid > ? AND NOT given" if since else "INDEXED BY waiting WHERE NOT given"
        query = f"SELECT series FROM slices {some} GROUP BY series ORDER BY MIN(rowid)"  # noqa: S608  no value
        return [series for (series,) in self._db.execute(query, (since,) if since else ())]

    def given(self, series: bytes) -> list[Slice]:
        """The slices of a series that were given already."""
        found = self._slices("SELECT * FROM slices WHERE series = ? AND given ORDER BY rowid", series)
        return [replace(one, again=True) for one in found]

    def take(self, series: bytes) -> list[Slice]:
        """The slices of a series that were not given yet; from now on they are."""
        self._write()
        found = self._slices("SELECT * FROM slices WHERE series = ? AND NOT given ORDER BY rowid", series)
        self._db.execute("UPDATE slices SET given = 1 WHERE series = ?", (series,))
        return found

    def drop(self, series: bytes, path: str) -> None:
        """Forget a file's slices: they are a copy of others, or refused."""
        self._db.execute("DELETE FROM slices WHERE series = ? AND path = ?", (series, _bytes(path)))

    def contest(self, series: bytes, keys: Iterable[bytes]) -> None:
        """Keep that the source holds other images under these record ids."""
        query = "UPDATE slices SET contested = 1 WHERE series = ? AND key = ?"
        self._db.executemany(query, ((series, key) for key in keys))

    def elsewhere(self, series: bytes) -> dict[bytes, Slice]:
        """Slices with the same record ids that were given as part of other series."""
        query = (
            "SELECT other.* FROM slices AS mine JOIN slices AS other ON other.key = mine.key"
            " WHERE mine.series = ?1 AND other.series <> ?1 AND other.given ORDER BY other.rowid"
        )
        found: dict[bytes, Slice] = {}
        for one in self._slices(query, series):
            found.setdefault(one.key, one)
        return found

    def _slices(self, query: str, series: bytes) -> list[Slice]:
        return [_slice(row) for row in self._db.execute(query, (series,))]

    def _write(self) -> None:
        self._db.executemany(
            "INSERT INTO slices (series, key, path, frame, kind, header) VALUES (?,?,?,?,?,?)", self._waiting
        )
        self._waiting.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.__exit__(kind, error, traceback)


def _folder() -> TemporaryDirectory[str]:
    try:
        return TemporaryDirectory(prefix="medsecure-scan-")
    except OSError as error:
        raise UnwritableError(f"the headers of the sources cannot be kept: {error.strerror}") from error


def _row(one: Slice) -> tuple[bytes, bytes, int, str, str]:
    header = [
        *(one.pixels, one.position, one.orientation, one.instance),
        *(one.shape, one.spacing_mm, one.frames, one.acquisition, one.modality, one.frame_of_reference),
    ]
    return (one.key, _bytes(one.place.path), one.place.frame, one.place.kind, json.dumps(header))


def _slice(row: tuple[Any, ...]) -> Slice:
    _, key, path, frame, kind, header, _, contested = row
    pixels, position, orientation, instance, shape, spacing_mm, frames, acquisition, *more = json.loads(
        header
    )
    made = Slice(
        key,
        Place(os.fsdecode(path), frame, FileKind(kind)),
        pixels,
        position and tuple(position),
        orientation and tuple(orientation),
        instance,
        (shape[0], shape[1]),
        spacing_mm and (spacing_mm[0], spacing_mm[1]),
        frames,
        Acquisition(*acquisition),
        *more,
    )
    return replace(made, contested=True) if contested else made


def is_folder(one: Path | os.DirEntry[str]) -> bool:
    """False also where that cannot be found out: opening it as a file then tells why."""
    try:
        return one.is_dir()
    except OSError:
        return False


def _bytes(path: Path | str) -> bytes:
    """A file's name need not be UTF-8."""
    return os.fsencode(path)
