"""Decoded frames of the phantom, as the ingest stage gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from stages.batches import Frame, Frames, Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPACING_MM: Final = 0.7


def decoded(images_NHW: NDArray[Any], slices: int) -> Frames:
    """Series of so many slices each."""
    numbers = range(len(images_NHW))
    keys = tuple(number.to_bytes(32, "big") for number in numbers)
    series = tuple((number // slices).to_bytes(32, "big") for number in numbers)
    blank = (b"",) * len(images_NHW)
    frames = tuple(Frame(image_HW, (SPACING_MM, SPACING_MM)) for image_HW in images_NHW)
    return Frames(Rows(keys, series, blank, blank), frames)
