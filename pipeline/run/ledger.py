"""The ledger of a results folder: which units are finished, so that ``--resume`` repeats none of them.

It also names the files of each series, so that slices which come in a later run complete it, and keeps what
was delivered under each record id, so that another image under it is not taken for the same.

A unit is entered only when all its rows are durable in the index or in the dead letters and its results
are delivered. Losing the last entries at a power cut costs repeated work, never a row: the index skips
what it holds.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from stages.database import open_database, writing
from stages.places import FileKind, Held

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pipeline.engine.accounting import Finished
    from stages.batches import Located


@dataclass(frozen=True, slots=True)
class Done:
    """What an earlier run made of a unit."""

    kept: int
    rejected: int
    rejected_again: int = 0  # what its rows that were given again add to ``rejected``, and not to the run's


class Ledger:
    """SQLite in ``DIR/ledger.sqlite``. Usable from one thread at a time."""

    def __init__(self, results: Path) -> None:
        self._file = results / "ledger.sqlite"
        self._db = open_database(
            self._file,
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
            "CREATE TABLE IF NOT EXISTS done (unit BLOB PRIMARY KEY, kept INT, rejected INT) WITHOUT ROWID;"
            "CREATE TABLE IF NOT EXISTS again (unit BLOB PRIMARY KEY, rejected INT) WITHOUT ROWID;"
            "CREATE TABLE IF NOT EXISTS files (series BLOB, path BLOB, PRIMARY KEY (series, path))"
            " WITHOUT ROWID;"
            "CREATE TABLE IF NOT EXISTS delivered"
            " (key BLOB PRIMARY KEY, content BLOB, path BLOB, day TEXT, geometry TEXT) WITHOUT ROWID",
        )

    def enter(
        self, unit: Finished, rejected_again: int = 0, contents: Mapping[bytes, bytes] | None = None
    ) -> None:
        """A unit is finished. ``rejected_again``: see ``Done``.

        ``contents`` are the digests of its pixels that were delivered, by record id; the first one delivered
        under a record id stays. Raises UnwritableError.
        """
        row = (_identity(unit.pieces), unit.kept, unit.rejected)
        files = {
            (series, os.fsencode(place.path))
            for piece in unit.pieces
            for series, place in zip(piece.series, piece.places, strict=True)
            if place.kind is FileKind.DICOM  # any other file is a series by itself
        }
        with writing(self._file), self._db:
            self._db.execute("INSERT OR REPLACE INTO done VALUES (?, ?, ?)", row)
            if any(any(piece.again) for piece in unit.pieces):
                self._db.execute("INSERT OR REPLACE INTO again VALUES (?, ?)", (row[0], rejected_again))
            self._db.executemany("INSERT OR IGNORE INTO files VALUES (?, ?)", sorted(files))
            query = "INSERT OR IGNORE INTO delivered VALUES (?, ?, ?, ?, ?)"
            self._db.executemany(query, _delivered(unit, contents or {}))

    def find(self, pieces: Sequence[Located]) -> Done | None:
        """What became of the unit of these pieces, None where it is not finished."""
        query = (
            "SELECT kept, done.rejected, coalesce(again.rejected, 0) FROM done LEFT JOIN again USING (unit)"
            " WHERE unit = ?"
        )
        row = self._db.execute(query, (_identity(pieces),)).fetchone()
        return Done(*row) if row else None

    def files_of(self, series: bytes) -> list[Path]:
        """Where slices of the series lay when it was streamed; a file may be gone since."""
        query = "SELECT path FROM files WHERE series = ? ORDER BY path"
        return [Path(os.fsdecode(path)) for (path,) in self._db.execute(query, (series,))]

    def delivered(self, record_ids: Iterable[bytes]) -> dict[bytes, Held]:
        """What was delivered first under these record ids; nothing of those that never were."""
        query = "SELECT content, path, day, geometry FROM delivered WHERE key = ?"
        rows = ((key, self._db.execute(query, (key,)).fetchone()) for key in record_ids)
        return {key: Held(row[0], os.fsdecode(row[1]), row[2], row[3]) for key, row in rows if row}

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _delivered(unit: Finished, contents: Mapping[bytes, bytes]) -> Iterator[tuple[bytes | str, ...]]:
    day = datetime.now(UTC).date().isoformat()
    for piece in unit.pieces:
        for key, place, geometry in zip(piece.keys, piece.places, piece.geometry, strict=True):
            if contents.get(key):
                yield key, contents[key], os.fsencode(place.path), day, geometry


def _identity(pieces: Sequence[Located]) -> bytes:
    """By content: a unit with one more or one other frame is another unit, whole."""
    return hashlib.sha256(b"".join(key for piece in pieces for key in piece.keys)).digest()
