"""How a picture is to be turned to stand upright: the orientation of Exif 2.32 and TIFF 6.0, tag 274.

Cameras and scanners store what the sensor gives and say in this tag where its first row and column belong.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base

from stages.grid import Display
from stages.preprocess.grid import stored

ORIENTATION: Final = int(Base.Orientation)
_DISPLAYS: Final = {
    1: Display(),
    2: Display(flip_columns=True),
    3: Display(flip_rows=True, flip_columns=True),
    4: Display(flip_rows=True),
    5: Display(transpose=True),
    6: Display(transpose=True, flip_columns=True),
    7: Display(transpose=True, flip_rows=True, flip_columns=True),
    8: Display(transpose=True, flip_rows=True),
}


def upright(orientation: object) -> Display:
    """The way from stored pixels to the upright picture; as stored where the value is none of the eight."""
    return _DISPLAYS.get(orientation, Display()) if isinstance(orientation, int) else Display()


def orientation_of(picture: Image.Image) -> Display:
    """What the picture's Exif data or XMP packet says; as stored where it has none, or it is damaged."""
    try:
        return upright(picture.getexif().get(ORIENTATION))
    except Exception:  # noqa: BLE001  (a parser of hostile bytes; the pixels are sound all the same)
        return Display()


def as_stored(upright_HW: NDArray[Any], display: Display) -> NDArray[Any]:
    """A picture that its decoder has turned already, turned back to the stored grid."""
    return np.ascontiguousarray(stored(upright_HW, display))
