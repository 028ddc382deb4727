"""What a run is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Settings
from stages.errors import OperatorError


class JobError(OperatorError):
    """The run cannot start as asked; one sentence says why."""


@dataclass(frozen=True)
class Job:
    """What is asked for."""

    sources: tuple[str, ...]  # files, folders, or SCHEME:REST, see ``stages.ingest.sources.opening``
    index: Path
    results: Path
    keys: Path
    settings: Settings
    resume: bool = False
    replay: bool = False  # of dead letters: the request of the first run stands
