"""Parses ``--source``: paths, and ``SCHEME:REST`` for other kinds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from stages.ingest.options import IngestOptions
from stages.ingest.site import Site
from stages.ingest.sources.base import Source
from stages.ingest.sources.delivered import DeliveredBefore, nothing_delivered
from stages.ingest.sources.folder import FilesBefore, FolderSource, nothing_earlier
from stages.ingest.sources.manifest import check

MANIFEST: Final = "manifest:"


def open_sources(
    given: Sequence[str],
    site: Site,
    options: IngestOptions,
    earlier: FilesBefore = nothing_earlier,
    delivered: DeliveredBefore = nothing_delivered,
) -> list[Source]:
    """One source of all files and folders, listed ones included, so that a series may lie in any of them.

    Raises OperatorError where a manifest cannot be read.
    """
    paths = [Path(one) for one in given if not one.startswith(MANIFEST)]
    named = manifests(given)
    for manifest in named:
        check(manifest)
    return [FolderSource(paths, site, options, earlier, named, delivered)]


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
