"""A manifest: a text file that lists one path a line, as a source.

Blank lines and lines that begin with ``#`` are skipped; a relative path counts from the manifest's folder.
A listed folder is walked when all listed files were read. A line may name the series of its file, behind a
tab, in any words: where such lines stand together the series is whole after the last of them, and starts
then. Files of a named series are still grouped by what their headers say. A path cannot hold a tab.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.errors import OperatorError


@dataclass(frozen=True, slots=True)
class Line:
    """A path of a manifest, and what it calls the path's series; empty where it does not."""

    path: Path
    series: str = ""


def listed(manifest: Path) -> Iterator[Line]:
    """What a manifest lists, line by line. Raises OperatorError where it is missing, no text, or empty."""
    empty = True
    try:
        with manifest.open(encoding="utf-8-sig") as lines:
            for line in lines:
                path, _, series = (part.strip() for part in line.partition("\t"))
                if path and not path.startswith("#"):
                    empty = False
                    yield Line(manifest.parent / path, series)
    except OSError as error:
        raise OperatorError(f"the manifest {manifest} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise OperatorError(f"the manifest {manifest} is not UTF-8 text: list one path a line") from error
    if empty:
        raise OperatorError(f"the manifest {manifest} lists no file")


def check(manifest: Path) -> None:
    """Read it once through. Raises what ``listed`` raises."""
    for _ in listed(manifest):
        pass
