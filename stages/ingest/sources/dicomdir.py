"""DICOMDIR: the directory of a medium (PS3.3 annex F) says which files a series has, before they are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydicom import Dataset, dcmread

from stages.ingest.faults import BadData, reading

NAME: Final = "DICOMDIR"
_UP: Final = ("", ".", "..")


def listed_series(directory: Path) -> list[list[Path]]:
    """The files of each series, in the order of the records; none where the directory cannot be read.

    A name that leads out of the medium's folder is left out.
    """
    try:
        with reading():
            return [files for files in _series(directory) if files]
    except BadData:
        return []


def _series(directory: Path) -> Iterator[list[Path]]:
    files: list[Path] = []
    for record in dcmread(directory).DirectoryRecordSequence:
        if record.DirectoryRecordType == "SERIES":
            yield files
            files = []
        elif path := _file(directory.parent, record):
            files.append(path)
    yield files


def _file(folder: Path, record: Dataset) -> Path | None:
    """The file of a record; media are written in capitals, and mounted in small letters by some systems."""
    names = record.get("ReferencedFileID") or ()
    parts = [names] if isinstance(names, str) else list(names)
    if not parts or any(part in _UP or "/" in part for part in parts):
        return None
    exact = folder.joinpath(*parts)
    small = folder.joinpath(*(part.lower() for part in parts))
    return small if small.exists() and not exact.exists() else exact
