"""DICOMDIR: the directory of a medium (PS3.3 annex F) says which files a series has, before they are read.

pydicom's ``FileSet`` leaves out files that it does not find under the very name; here a missing file is
refused like any other, and names are found on a medium that was mounted in small letters, or whose files
were given a suffix when they were copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydicom import Dataset, dcmread

from stages.ingest.faults import BadData, reading
from stages.ingest.files import open_regular

_MOST_BYTES: Final = 1 << 28  # a directory of a million files
_SUFFIXES: Final = ("", ".dcm", ".DCM", ".;1", ";1")  # that copying from a medium adds: ISO 9660 has versions
_NO_NAMES: Final = ("", ".", "..")


def listed_series(directory: Path) -> list[list[Path]]:
    """The files of each series; none where the directory cannot be read.

    A name that leads out of the medium's folder is left out.
    """
    try:
        with reading():
            return _Dicomdir(directory).series()
    except BadData:
        return []


class _Dicomdir:
    """Records that point at one another by their offset in the file (PS3.3 section F.3.2.2)."""

    def __init__(self, path: Path) -> None:
        self._folder = path.parent
        with open_regular(str(path), _MOST_BYTES) as (file, _):
            dataset = dcmread(file)
        self._records: dict[int, Dataset] = {
            record.seq_item_tell: record for record in dataset.DirectoryRecordSequence
        }
        self._first = dataset.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity

    def series(self) -> list[list[Path]]:
        """The files below each record of a series that has some."""
        found = []
        for record in self._below(self._first):
            if record.DirectoryRecordType == "SERIES":
                lower = self._below(record.OffsetOfReferencedLowerLevelDirectoryEntity)
                found.append([path for one in lower if (path := self._file(one)) is not None])
        return [files for files in found if files]

    def _below(self, first: int) -> Iterator[Dataset]:
        """This record, those after it and all below them; each record once, whatever links lead to it."""
        waiting, seen = [first], set()
        while waiting:
            offset = waiting.pop()
            record = self._records.get(offset)
            if record is None or offset in seen:
                continue
            seen.add(offset)
            yield record
            waiting.append(record.OffsetOfTheNextDirectoryRecord)
            waiting.append(record.OffsetOfReferencedLowerLevelDirectoryEntity)

    def _file(self, record: Dataset) -> Path | None:
        names = record.get("ReferencedFileID") or ()
        parts = [names] if isinstance(names, str) else list(names)
        if not parts or any(part in _NO_NAMES or "/" in part for part in parts):
            return None
        exact = self._folder.joinpath(*parts)
        small = self._folder.joinpath(*(part.lower() for part in parts))
        names_ = (path.with_name(path.name + suffix) for suffix in _SUFFIXES for path in (exact, small))
        return next((path for path in names_ if path.exists()), exact)
