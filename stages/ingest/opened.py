"""What every reader of a kind of file gives: what identifies it, and one frame at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stages.base import Reason
from stages.batches import Frame
from stages.ingest.faults import BadData


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """An opened file. ``frame`` raises on a frame that cannot be had; the others stay readable."""

    identity: Mapping[str, str]  # attribute names of the de-identification table to values
    frame: Callable[[int], Frame]


def check_pixels(height: int, width: int, most: int) -> None:
    """Refuse a frame over the limit, or of nothing, before anything is allocated for it."""
    if height < 1 or width < 1:
        raise BadData(Reason.CORRUPT, f"A frame has {height} by {width} pixels.")
    if height * width > most:
        detail = f"A frame has {height} by {width} pixels; the limit is {most} in all (ingest.max_pixels)."
        raise BadData(Reason.TOO_LARGE, detail)
