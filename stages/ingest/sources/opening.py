"""From what an operator gives as ``--source`` to sources: paths, and ``SCHEME:REST`` for other kinds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from stages.ingest.options import IngestOptions
from stages.ingest.site import Site
from stages.ingest.sources.base import Source
from stages.ingest.sources.folder import FolderSource
from stages.ingest.sources.manifest import ManifestSource

MANIFEST: Final = "manifest:"


def open_sources(given: Sequence[str], site: Site, options: IngestOptions) -> list[Source]:
    """One source for all files and folders, so that each is read once, and one for each manifest."""
    paths = tuple(Path(one) for one in given if not one.startswith(MANIFEST))
    sources: list[Source] = [FolderSource(paths, site, options)] if paths else []
    return sources + [ManifestSource(path, site, options) for path in manifests(given)]


def manifests(given: Sequence[str]) -> list[Path]:
    """The manifest files among these sources."""
    return [Path(one.removeprefix(MANIFEST)) for one in given if one.startswith(MANIFEST)]


def location(source: str) -> Path:
    """The file or folder that a source reads on this machine."""
    return Path(source.removeprefix(MANIFEST))


def absolute(source: str) -> str:
    """The same source, wherever a later command is run."""
    scheme = MANIFEST if source.startswith(MANIFEST) else ""
    return f"{scheme}{location(source).resolve()}"
