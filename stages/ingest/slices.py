"""What a file's header says of one frame, and frames that make one stack."""

from __future__ import annotations

from dataclasses import dataclass

from stages.doubt import Doubt
from stages.ingest.acquisition import UNMARKED, Acquisition
from stages.places import Held, Place


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
    modality: str = ""
    frame_of_reference: str = ""  # UID of the space in which the position is one
    again: bool = False  # the source has given it before
    contested: bool = False  # the source holds another image under its record id
    held: Held | None = None  # what an earlier run delivered under its record id


@dataclass(frozen=True, slots=True)
class SliceStack:
    """The slices of one stack, in its order."""

    slices: tuple[Slice, ...]
    doubt: Doubt = Doubt.NONE
