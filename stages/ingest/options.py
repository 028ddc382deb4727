"""The configuration section of ingest."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from annotated_types import Ge, Le
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated


class Layout(StrEnum):
    """What the folders of a source tell of its series."""

    ANY = "any"
    SERIES_PER_FOLDER = "series-per-folder"


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class IngestOptions:
    """How series are cut, and the limits beyond which a file is refused."""

    batch: Annotated[int, Ge(1), Le(4096)] = 64
    """Most frames in a batch; a series that fits stays whole."""
    max_pixels: Annotated[int, Ge(1), Le(2**31)] = 64 * 2**20
    """Most pixels in one frame, and in one batch: what bounds a worker's memory."""
    max_frames: Annotated[int, Ge(1), Le(2**24)] = 100_000
    """Most frames in one file."""
    max_file_bytes: Annotated[int, Ge(1), Le(2**40)] = 4 * 2**30
    """Largest file that is read, and the largest volume that a gzipped one may hold."""
    layout: Layout = Layout.ANY
    """What folders tell: nothing, or that each holds whole series, which then start before the scan ends."""
