"""A manifest: a text file that lists one path a line, as a source.

Blank lines and lines that begin with ``#`` are skipped; a relative path counts from the manifest's folder.
A listed folder is walked.
"""

from __future__ import annotations

from pathlib import Path

from stages.errors import OperatorError


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
