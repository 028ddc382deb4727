"""Files and folders as a source: every file is in a batch, refused with its reason, or a copy of another.

Folders are walked in order, each once whatever links lead to it. A file that is a series by itself (volume,
picture) is passed on at once. The slices of a DICOM series may lie in any folders: their headers are
catalogued, and a series is passed on when all files were looked at. Where the source tells earlier that a
series is whole, it is passed on then: a DICOMDIR lists its files, a manifest names the series of its lines,
or the operator states that each folder holds whole series (``ingest.layout``). A slice that turns up later
gives the series once more, whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from stages.base import Reason
from stages.batches import Copied, Located, Refused
from stages.ingest.faults import BadData, Refusal, reading, silence
from stages.ingest.options import IngestOptions, Layout
from stages.ingest.probe import probe
from stages.ingest.series import Series, batches
from stages.ingest.site import Site
from stages.ingest.slices import Slice, SliceStack
from stages.ingest.sources.base import Unit
from stages.ingest.sources.catalogue import Catalogue, is_folder
from stages.ingest.sources.copies import Sorted, without_copies
from stages.ingest.sources.delivered import (
    DeliveredBefore,
    delivered_first,
    nothing_delivered,
    refuse_others,
)
from stages.ingest.sources.dicomdir import listed_series
from stages.ingest.sources.manifest import Line, listed
from stages.ingest.stacks import stacked
from stages.places import Held

Scanned = Series | Refused | Copied
FilesBefore = Callable[[bytes], Sequence[Path]]


def nothing_earlier(_series: bytes) -> Sequence[Path]:
    """There was no earlier run."""
    return ()


class FolderSource:
    """Files and folders, once, those that manifests list among them; they stay where they are.

    ``earlier`` names the files in which earlier runs found slices of a series: those that are still there
    complete it. ``delivered`` tells what they delivered under a record id, which stays.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        site: Site,
        options: IngestOptions,
        earlier: FilesBefore = nothing_earlier,
        manifests: Sequence[Path] = (),
        delivered: DeliveredBefore = nothing_delivered,
    ) -> None:
        self._paths = paths
        self._manifests = manifests
        self._scan = Scan(site, options, earlier, delivered)

    def __iter__(self) -> Iterator[Located | Refused | Copied]:
        """See ``Source``."""
        return self._scan.work(self._paths, self._manifests)

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

    def __init__(
        self,
        site: Site,
        options: IngestOptions,
        earlier: FilesBefore = nothing_earlier,
        delivered: DeliveredBefore = nothing_delivered,
    ) -> None:
        self.files = 0
        self._site = site
        self._options = options
        self._earlier = earlier
        self._delivered = delivered

    def work(
        self, sources: Sequence[Path], manifests: Sequence[Path] = ()
    ) -> Iterator[Located | Refused | Copied]:
        """All work, in batches."""
        silence()
        with Catalogue() as catalogue:
            yield from batches(self._found(sources, manifests, catalogue), self._options, self._site)

    def _found(
        self, sources: Sequence[Path], manifests: Sequence[Path], catalogue: Catalogue
    ) -> Iterator[Scanned]:
        absolute = [source.absolute() for source in sources]
        catalogue.name(absolute)
        for manifest in manifests:
            catalogue.name(line.path.absolute() for line in listed(manifest))
        folders = [path for path in absolute if is_folder(path)]
        yield from self._of_named((path for path in absolute if not is_folder(path)), catalogue)
        for manifest in manifests:
            for series, lines in groupby(listed(manifest), lambda line: line.series):
                since = catalogue.count()
                yield from self._of_named(_without_folders(lines, folders), catalogue)
                if series:
                    yield from self._whole(catalogue, since)
        for folder in folders:
            yield from self._below(folder, catalogue)
        yield from self._whole(catalogue)

    def _below(self, top: Path, catalogue: Catalogue) -> Iterator[Scanned]:
        """The folder and those below it, files before folders, by name."""
        waiting = [iter((top,))]
        while waiting:
            folder = next(waiting[-1], None)
            if folder is None:
                waiting.pop()
                continue
            try:
                fresh = catalogue.list_folder(folder)
            except OSError as error:
                detail = f"The folder cannot be listed ({type(error).__name__})."
                yield self._refused(folder, Refusal(Reason.UNREADABLE, detail))
                continue
            if fresh:
                yield from self._inside(folder, catalogue)
                waiting.append(catalogue.inside(folder, below=True))

    def _inside(self, folder: Path, catalogue: Catalogue) -> Iterator[Scanned]:
        """The files of a listed folder."""
        for directory in catalogue.directories(folder):
            yield from self._of_medium(directory, catalogue)
        files = catalogue.inside(folder, below=False)
        yield from self._of_files((path for path in files if not catalogue.is_listed(path)), catalogue)
        if self._options.layout is Layout.SERIES_PER_FOLDER:
            yield from self._whole(catalogue)

    def _of_medium(self, directory: Path, catalogue: Catalogue) -> Iterator[Scanned]:
        """The series that a DICOMDIR lists, each as soon as its files are read."""
        for files in listed_series(directory):
            since = catalogue.count()
            yield from self._of_named(files, catalogue)
            yield from self._whole(catalogue, since)

    def _of_named(self, paths: Iterable[Path], catalogue: Catalogue) -> Iterator[Scanned]:
        """Files that are named by themselves, each the first time."""
        return self._of_files((path for path in paths if catalogue.list_file(path)), catalogue)

    def _of_files(self, paths: Iterable[Path], catalogue: Catalogue) -> Iterator[Scanned]:
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
                yield Series(found.series, (SliceStack(found.slices),))
            else:
                yield Copied(str(path), len(found.slices))

    def _whole(self, catalogue: Catalogue, since: int = 0) -> Iterator[Scanned]:
        """The series that have slices which are not on their way yet, some of them found ``since`` then."""
        for series in catalogue.waiting(since):
            given, taken = catalogue.given(series), catalogue.take(series)
            earlier = self._of_earlier_runs(series, catalogue, again=bool(given))
            held = self._delivered([*{one.key for one in (*given, *taken, *earlier.values())}])
            fresh = delivered_first(taken, held)
            found = without_copies(given, fresh, catalogue.elsewhere(series), self._options, earlier)
            refuse_others(found, fresh, held)
            for aside in found.set_aside:
                catalogue.drop(series, aside.path)
                yield aside
            catalogue.contest(series, found.contested)
            slices = earlier | found.kept
            known = {id(one) for one in given}
            grown = any(id(one) not in known for one in found.kept.values())
            if grown or not found.contested.isdisjoint(slices):
                yield Series(series, stacked([_marked(one, found, held) for one in slices.values()]))

    def _of_earlier_runs(self, series: bytes, catalogue: Catalogue, *, again: bool) -> dict[bytes, Slice]:
        """Slices of the series in files that an earlier run read elsewhere, where they still are.

        Files of this run's sources were read, or come by themselves.
        """
        slices: dict[bytes, Slice] = {}
        for path in self._earlier(series):
            if catalogue.is_within(path):
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


def _marked(one: Slice, found: Sorted, held: Mapping[bytes, Held]) -> Slice:
    """The slice with what else is known of its record id."""
    return replace(one, contested=one.contested or one.key in found.contested, held=held.get(one.key))


def _without_folders(lines: Iterable[Line], folders: list[Path]) -> Iterator[Path]:
    """The files among the lines; folders are added to the others."""
    for line in lines:
        path = line.path.absolute()
        if is_folder(path):
            folders.append(path)
        else:
            yield path
