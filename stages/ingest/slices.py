"""What a file's header says of one frame: which one it is, where it lies in the body, how it was made."""

from __future__ import annotations

from dataclasses import dataclass

from stages.batches import Place
from stages.ingest.acquisition import UNMARKED, Acquisition


@dataclass(frozen=True, slots=True)
class Slice:
    """One frame of a series, not yet read."""

    key: bytes
    place: Place
    pixels: int  # about how many, for the size of batches
    position: tuple[float, ...] | None = None  # of the first pixel, LPS millimetres
    orientation: tuple[float, ...] | None = None  # cosines of row and column
    instance: int | None = None
    shape: tuple[int, int] = (0, 0)  # rows, columns; (0, 0) where a file tells only when it is decoded
    spacing_mm: tuple[float, float] | None = None  # row, column
    frames: int = 1  # in its file
    acquisition: Acquisition = UNMARKED
    again: bool = False  # the source has given it before
