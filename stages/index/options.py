"""The configuration section of index."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class IndexOptions:
    """How the index is laid out on disk, and where a copy goes."""

    segment_bytes: Annotated[int, Ge(1 << 12), Le(1 << 40)] = 1 << 28
    """A segment that has reached this size gets no further block."""
    objects: str | None = None
    """Where a copy is pushed to when a segment is full and in the end: s3://BUCKET/PREFIX or the like."""
