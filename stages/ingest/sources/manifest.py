"""A manifest as a source: a text file that lists one path a line.

Blank lines and lines that begin with ``#`` are skipped; a relative path counts from the manifest's folder.
The listed files count as one folder; a listed folder is walked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.batches import Located, Refused
from stages.errors import OperatorError
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site
from stages.ingest.sources.folder import StayingFiles, scan


@dataclass(frozen=True)
class ManifestSource(StayingFiles):
    """The files that a manifest lists."""

    manifest: Path
    site: Site
    options: IngestOptions

    def __iter__(self) -> Iterator[Located | Refused]:
        """See ``Source``. Raises OperatorError where the manifest cannot be read."""
        return scan(listed(self.manifest), self.site, self.options)


def listed(manifest: Path) -> list[Path]:
    """The paths that a manifest lists. Raises OperatorError where it is missing, no text, or empty."""
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise OperatorError(f"the manifest {manifest} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise OperatorError(f"the manifest {manifest} is not UTF-8 text: list one path a line") from error
    paths = [manifest.parent / line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not paths:
        raise OperatorError(f"the manifest {manifest} lists no file")
    return paths
