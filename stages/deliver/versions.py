"""Versions of a series' result: a fuller one is never replaced silently, an equal one is not touched.

``results/<series>/`` is the current result. A delivery that holds all slices which lie there replaces it as
a whole, with the next version number. One that lacks some is written beside, whole, as ``version-K/``, and
is removed when a delivery comes that holds all of its slices. A delivery with the same bytes changes nothing.
"""

from __future__ import annotations

import filecmp
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stages import files

MEASUREMENTS: Final = "measurements.json"
_KEPT: Final = re.compile(r"version-[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class Result:
    """A result that lies in a folder."""

    folder: Path
    version: int
    record_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Shelf:
    """What lies there of one series: the current result, and those beside it by their numbers."""

    current: Result | None
    beside: tuple[Result, ...]

    @property
    def next_version(self) -> int:
        """A number that no result here has had."""
        return 1 + max((one.version for one in (*self.beside, self.current) if one is not None), default=0)


def shelf(folder: Path) -> Shelf:
    """What lies in the series' folder; a folder without sound measurements holds no result."""
    kept = [path for path in folder.iterdir() if _KEPT.fullmatch(path.name)] if folder.is_dir() else []
    beside = sorted((one for path in kept if (one := _read(path))), key=lambda one: one.version)
    return Shelf(_read(folder), tuple(beside))


def _read(folder: Path) -> Result | None:
    try:
        content = json.loads((folder / MEASUREMENTS).read_text())
        slices = [one for mask in content["masks"] for one in mask["slices"]]
        return Result(folder, int(content["version"]), frozenset(one["record_id"] for one in slices))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def settle(
    part: Path, folder: Path, there: Shelf, record_ids: frozenset[str], describe: Callable[[int], None]
) -> Path:
    """Put the delivery in ``part`` where it belongs, durably; the folder that holds it then.

    ``describe`` writes the measurements into ``part`` under a version number. Doing a delivery again, also
    after a kill at any step, ends the same.
    """
    current = there.current
    lacks = current is not None and not current.record_ids <= record_ids
    for lying in there.beside if current is None or lacks else (current,):
        describe(lying.version)
        if _same(part, lying.folder):
            return lying.folder
    describe(there.next_version)
    if lacks:
        beside = folder / f"version-{there.next_version}"
        files.place_directory(part, beside)
        return beside
    for lying in there.beside:
        if not lying.record_ids <= record_ids:
            shutil.copytree(lying.folder, part / lying.folder.name)
    if folder.exists():
        files.replace_directory(part, folder)
    else:
        files.place_directory(part, folder)
    return folder


def _same(part: Path, folder: Path) -> bool:
    """Whether two results have the same files, to the byte."""
    mine, theirs = (set(_files(one)) for one in (part, folder))
    return mine == theirs and all(filecmp.cmp(part / name, folder / name, shallow=False) for name in mine)


def _files(folder: Path) -> Iterator[Path]:
    """The files of one result, relative to its folder, without those of the results beside it."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and not _KEPT.fullmatch(name.parts[0]):
            yield name
