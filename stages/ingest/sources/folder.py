"""Files and folders as a source: every file is in a batch, refused with its reason, or a copy of another.

Folders are walked in order, each once whatever links lead to it. A file that is a series by itself (volume,
picture) is passed on at once. The slices of a DICOM series may lie in any folders: their headers are
catalogued, and a series is passed on when all files were looked at. Where the source tells earlier that a
series is whole, it is passed on then: a DICOMDIR lists its files, or the operator states that each folder
holds whole series (``ingest.layout``). A slice that turns up later gives the series once more, whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from stages.base import Reason
from stages.batches import Copied, Located, Refused
from stages.ingest.faults import BadData, Refusal, reading, silence
from stages.ingest.options import IngestOptions, Layout
from stages.ingest.probe import probe
from stages.ingest.series import Series, batches
from stages.ingest.site import Site
from stages.ingest.slices import Slice
from stages.ingest.sources.base import Unit
from stages.ingest.sources.catalogue import Catalogue
from stages.ingest.sources.copies import without_copies
from stages.ingest.sources.dicomdir import NAME, listed_series
from stages.ingest.stacks import stacked

Found = Series | Refused | Copied
Earlier = Callable[[bytes], Sequence[Path]]


def nothing_earlier(_series: bytes) -> Sequence[Path]:
    """There was no earlier run."""
    return ()


class FolderSource:
    """Files and folders, once; they stay where they are.

    ``earlier`` names the files in which earlier runs found slices of a series: those that are still there
    complete it.
    """

    def __init__(
        self, paths: Sequence[Path], site: Site, options: IngestOptions, earlier: Earlier = nothing_earlier
    ) -> None:
        self._paths = paths
        self._scan = Scan(site, options, earlier)

    def __iter__(self) -> Iterator[Located | Refused | Copied]:
        """See ``Source``."""
        return self._scan.work(self._paths)

    @property
    def scanned(self) -> int:
        """See ``Source``."""
        return self._scan.files

    def finished(self, unit: Unit) -> None:
        """See ``Source``: files stay, nothing is to be forgotten."""

    def close(self) -> None:
        """See ``Source``: nothing is held."""


def scan(sources: Sequence[Path], site: Site, options: IngestOptions) -> Iterator[Located | Refused | Copied]:
    """All work that the sources hold; listed files come first."""
    return Scan(site, options).work(sources)


class Scan:
    """One pass over files and folders. ``files`` counts those looked at so far."""

    def __init__(self, site: Site, options: IngestOptions, earlier: Earlier = nothing_earlier) -> None:
        self.files = 0
        self._site = site
        self._options = options
        self._earlier = earlier
        self._sources: frozenset[Path] = frozenset()

    def work(self, sources: Sequence[Path]) -> Iterator[Located | Refused | Copied]:
        """All work, in batches."""
        silence()
        with Catalogue() as catalogue:
            yield from batches(self._found(sources, catalogue), self._options, self._site)

    def _found(self, sources: Sequence[Path], catalogue: Catalogue) -> Iterator[Found]:
        absolute = [source.absolute() for source in sources]
        self._sources = frozenset(absolute)
        named = [path for path in absolute if not _is_folder(path)]
        yield from self._of_files([path for path in named if catalogue.list_file(path)], catalogue)
        seen: set[tuple[int, int]] = set()
        for source in absolute:
            if _is_folder(source):
                yield from self._below(source, seen, catalogue)
        yield from self._whole(catalogue)

    def _below(self, top: Path, seen: set[tuple[int, int]], catalogue: Catalogue) -> Iterator[Found]:
        """The folder and those below it, files before folders, by name."""
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            try:
                status = folder.stat()
                entries = sorted(folder.iterdir())
            except OSError as error:
                detail = f"The folder cannot be listed ({type(error).__name__})."
                yield self._refused(folder, Refusal(Reason.UNREADABLE, detail))
                continue
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            folders = [path for path in entries if _is_folder(path)]
            waiting.extend(reversed(folders))
            inside = set(folders)
            files = [path for path in entries if path not in inside]
            for directory in files:
                if directory.name.upper() == NAME:
                    yield from self._of_medium(directory, catalogue)
            yield from self._of_files([path for path in files if not catalogue.is_listed(path)], catalogue)
            if self._options.layout is Layout.SERIES_PER_FOLDER:
                yield from self._whole(catalogue)

    def _of_medium(self, directory: Path, catalogue: Catalogue) -> Iterator[Found]:
        """The series that a DICOMDIR lists, each as soon as its files are read."""
        for files in listed_series(directory):
            yield from self._of_files([path for path in files if catalogue.list_file(path)], catalogue)
            yield from self._whole(catalogue)

    def _of_files(self, paths: Iterable[Path], catalogue: Catalogue) -> Iterator[Found]:
        """What is whole by itself or refused; slices of series go into the catalogue."""
        for path in paths:
            self.files += 1
            try:
                with reading():
                    found = probe(path, self._site, self._options)
            except BadData as bad:
                yield self._refused(path, bad.refusal)
                continue
            if not found.whole:
                catalogue.add(found.series, found.slices)
            elif catalogue.is_new(found.series):
                yield Series(found.series, (found.slices,))
            else:
                yield Copied(str(path), len(found.slices))

    def _whole(self, catalogue: Catalogue) -> Iterator[Found]:
        """The series of the catalogue that have slices which are not on their way yet."""
        for series in catalogue.waiting():
            given, fresh = catalogue.given(series), catalogue.take(series)
            earlier = self._of_earlier_runs(series, again=bool(given))
            elsewhere = catalogue.elsewhere(series) | earlier
            found = without_copies(given, fresh, elsewhere, self._options)
            for aside in found.set_aside:
                catalogue.drop(series, aside.path)
                yield aside
            if any(found.kept.get(one.key) is one for one in fresh):
                yield Series(series, stacked(list((earlier | found.kept).values())))

    def _of_earlier_runs(self, series: bytes, *, again: bool) -> dict[bytes, Slice]:
        """Slices of the series in files that an earlier run read elsewhere, where they still are.

        Files of this run's sources were read, or come by themselves.
        """
        slices: dict[bytes, Slice] = {}
        for path in self._earlier(series):
            if not self._sources.isdisjoint((path, *path.parents)):
                continue
            try:
                with reading():
                    found = probe(path, self._site, self._options)
            except BadData:
                continue  # gone or changed since: the result states what it is made of
            if found.series == series and not found.whole:
                slices |= {one.key: replace(one, again=again) for one in found.slices}
        return slices

    def _refused(self, path: Path, refusal: Refusal) -> Refused:
        return Refused(str(path), self._site.path_key(str(path)), refusal.reason, refusal.detail)


def _is_folder(path: Path) -> bool:
    """False also where that cannot be found out: opening it as a file then tells why."""
    try:
        return path.is_dir()
    except OSError:
        return False
