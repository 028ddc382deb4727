"""Stored values to quantities: exact in integers where they can be, in the smallest type that holds them."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.base import Reason
from stages.ingest.faults import BadData

# ITU-R BT.601-7, 2.5.1: luminance from red, green and blue.
_LUMA: Final = np.array([0.299, 0.587, 0.114])
_WHOLE: Final = (np.uint8, np.int16, np.uint16, np.int32)
_COLOURS: Final = ("RGB", "RGBA", "RGBX")
_GREYS: Final = ("L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_WIDE_BYTES: Final = 4  # from here on a stored integer fills float32's mantissa, and int32


def rescaled(stored_HW: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """``stored * slope + intercept``."""
    if (slope, intercept) == (1, 0):
        return stored_HW
    if slope == 0 or not math.isfinite(slope) or not math.isfinite(intercept):
        raise BadData(Reason.CORRUPT, "The rescale slope is zero, or it or the intercept is no number.")
    narrow = stored_HW.dtype.itemsize < _WIDE_BYTES
    whole = np.issubdtype(stored_HW.dtype, np.integer) and slope == 1 and intercept.is_integer()
    if narrow and whole and abs(intercept) < 2**30:
        return smallest(stored_HW.astype(np.int32) + np.int32(intercept))
    real_HW: NDArray[Any] = stored_HW.astype(np.result_type(stored_HW.dtype, np.float32))
    real_HW *= slope
    real_HW += intercept
    return real_HW


def reflected(image_HW: NDArray[Any], ends: NDArray[Any]) -> NDArray[Any]:
    """Small values bright: reflected about the middle of ``ends``."""
    if not np.issubdtype(image_HW.dtype, np.integer):
        return np.asarray(ends.sum() - image_HW)
    wide = np.int32 if image_HW.dtype.itemsize < _WIDE_BYTES else np.int64
    return smallest(ends.astype(wide).sum(dtype=wide) - image_HW.astype(wide))


def smallest(whole_HW: NDArray[Any]) -> NDArray[Any]:
    """The same integers in the smallest type."""
    low, high = whole_HW.min(), whole_HW.max()
    for kind in _WHOLE:
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return whole_HW.astype(kind)
    return whole_HW


def luminance(image_HWC: NDArray[Any]) -> NDArray[Any]:
    """A colour image as one channel of the same type; channels after the third are ignored."""
    grey_HW: NDArray[Any] = image_HWC[..., :3] @ _LUMA
    if np.issubdtype(image_HWC.dtype, np.integer):
        np.rint(grey_HW, out=grey_HW)
    return grey_HW.astype(image_HWC.dtype)


def one_channel(picture: Image.Image) -> NDArray[Any]:
    """A decoded picture as one channel in the machine's byte order: colour as luminance, alpha ignored."""
    if picture.mode in _GREYS:
        pixels = np.asarray(picture)
        return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
    if picture.mode == "1":
        return np.asarray(picture).astype(np.uint8)
    if picture.mode == "LA":
        return np.ascontiguousarray(np.asarray(picture)[..., 0])
    return luminance(np.asarray(picture if picture.mode in _COLOURS else picture.convert("RGB")))
