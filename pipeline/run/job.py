"""The job of a run: sources, folders and settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Settings
from stages.errors import OperatorError


class JobError(OperatorError):
    """The run cannot start; the message is one sentence."""


@dataclass(frozen=True)
class Job:
    """One run's sources, folders and settings."""

    sources: tuple[str, ...]  # files, folders, or SCHEME:REST, see ``stages.ingest.sources.opening``
    index: Path
    results: Path
    keys: Path
    settings: Settings
    resume: bool = False
    replay: bool = False  # of dead letters: the request of the first run stands
