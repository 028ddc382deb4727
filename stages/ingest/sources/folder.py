"""From files and folders to work: every file is either in a batch or refused, with its reason.

Folders are walked in order, each once whatever links lead to it. The series of one folder are sorted
and cut together, so memory is bounded by the headers of one folder; a file that is a series by itself
(volume, picture, multi-frame object) is passed on at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.base import Reason
from stages.batches import Located, Refused
from stages.ingest.faults import BadData, Refusal, reading, silence
from stages.ingest.options import IngestOptions
from stages.ingest.probe import probe
from stages.ingest.series import Series, Slice, batches, ordered
from stages.ingest.site import Site
from stages.ingest.sources.base import Unit


class StayingFiles:
    """The end of a source whose files stay where they are: nothing to remove, nothing held."""

    def finished(self, unit: Unit) -> None:
        """See ``Source``."""

    def close(self) -> None:
        """See ``Source``."""


@dataclass(frozen=True)
class FolderSource(StayingFiles):
    """Files and folders, once."""

    paths: tuple[Path, ...]
    site: Site
    options: IngestOptions

    def __iter__(self) -> Iterator[Located | Refused]:
        """See ``Source``."""
        return scan(self.paths, self.site, self.options)


def scan(sources: Sequence[Path], site: Site, options: IngestOptions) -> Iterator[Located | Refused]:
    """All work that the sources hold; listed files count as one folder and come first."""
    silence()
    return batches(_found(sources, site, options), options, site)


def _found(sources: Sequence[Path], site: Site, options: IngestOptions) -> Iterator[Series | Refused]:
    absolute = [source.absolute() for source in sources]
    yield from _of_folder([path for path in absolute if not _is_folder(path)], site, options)
    seen: set[tuple[int, int]] = set()
    for source in absolute:
        if _is_folder(source):
            yield from _below(source, seen, site, options)


def _below(
    top: Path, seen: set[tuple[int, int]], site: Site, options: IngestOptions
) -> Iterator[Series | Refused]:
    """The folder and those below it, files before folders, by name."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            status = folder.stat()
            entries = sorted(folder.iterdir())
        except OSError as error:
            detail = f"The folder cannot be listed ({type(error).__name__})."
            yield _refused(folder, Refusal(Reason.UNREADABLE, detail), site)
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        folders = [path for path in entries if _is_folder(path)]
        waiting.extend(reversed(folders))
        inside = set(folders)
        yield from _of_folder([path for path in entries if path not in inside], site, options)


def _is_folder(path: Path) -> bool:
    """False also where that cannot be found out: opening it as a file then tells why."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _of_folder(paths: Sequence[Path], site: Site, options: IngestOptions) -> Iterator[Series | Refused]:
    gathered: dict[bytes, list[Slice]] = {}
    for path in paths:
        try:
            with reading():
                series, whole = probe(path, site, options)
        except BadData as bad:
            yield _refused(path, bad.refusal, site)
            continue
        if whole:
            yield series
        else:
            gathered.setdefault(series.pseudonym, []).extend(series.slices)
    for pseudonym, slices in gathered.items():
        yield Series(pseudonym, ordered(slices))


def _refused(path: Path, refusal: Refusal, site: Site) -> Refused:
    return Refused(str(path), site.path_key(str(path)), refusal.reason, refusal.detail)
