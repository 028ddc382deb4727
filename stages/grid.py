"""The grid of one stored image: how it is shown, its way to the model's field and back, masks on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Display:
    """How stored pixels become the standard view: rows to posterior, columns to the patient's left.

    Transpose first, then the flips. All False where orientation is unknown or not near axial.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False


STORED: Final = Display()  # as stored
PLAUSIBLE_SPACING_MM: Final = (0.01, 10.0)  # between pixels of a slice; beyond lies a header's mistake


@dataclass(frozen=True, slots=True)
class Grid:
    """The affine resampling from one stored image to the model's field, enough to undo it.

    Field pixel (r, c) looks at displayed pixel ``(r, c) * scale + offset`` (pixel centres, row first).
    """

    shape: tuple[int, int]  # stored H, W
    display: Display
    scale: tuple[float, float]  # displayed pixels per field pixel
    offset: tuple[float, float]
    spacing_known: bool


@dataclass(frozen=True, slots=True)
class Mask:
    """A binary mask on the stored grid, eight pixels a byte."""

    shape: tuple[int, int]
    bits: NDArray[np.uint8]

    @classmethod
    def pack(cls, mask_HW: NDArray[Any]) -> Mask:
        """From any array whose non-zero pixels are the structure."""
        return cls((mask_HW.shape[0], mask_HW.shape[1]), np.packbits(np.asarray(mask_HW, np.bool_)))

    def unpack(self) -> NDArray[np.uint8]:
        """The mask as 0 and 1, [H, W]."""
        h, w = self.shape
        return np.unpackbits(self.bits, count=h * w).reshape(h, w)
