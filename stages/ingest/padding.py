"""Pixel padding (PS3.3 section C.7.5.1.1.2): stored values that are no part of the image.

Stated for grey images only: one value, or all values between two. Ultrasound and CT fill what lies outside
their field with it, MR writers what they cut away; left in, it is brighter or darker than any tissue.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.tag import BaseTag

from stages.ingest.elements import integer, real

# Tags of the value and of the range's other end, and how a real number is held.
_WHOLE: Final = (BaseTag(0x00280120), BaseTag(0x00280121))
_REAL: Final[dict[str, tuple[BaseTag, BaseTag, Literal["f", "d"]]]] = {
    "FloatPixelData": (BaseTag(0x00280122), BaseTag(0x00280124), "f"),
    "DoubleFloatPixelData": (BaseTag(0x00280123), BaseTag(0x00280125), "d"),
}
PADDING_TAGS: Final = (*_WHOLE, *(tag for *tags, _ in _REAL.values() for tag in tags))
_HELD_BITS: Final = 16  # of a whole padding value, whatever the pixels have

Span = tuple[float, float]


def padding_span(dataset: Dataset, keyword: str, *, signed: bool) -> Span | None:
    """The least and the greatest padding value, both included; None where the object states none.

    The bits of a whole value are read as the pixels are, signed or not, whatever its own type says.
    """
    if keyword in _REAL:
        first_tag, second_tag, kind = _REAL[keyword]
        first, second = real(dataset, first_tag, kind), real(dataset, second_tag, kind)
    else:
        first, second = (_whole(dataset, tag, signed) for tag in _WHOLE)
    if first is None:
        return None
    ends = (first, first if second is None else second)
    return min(ends), max(ends)


def storable(bits: int, *, signed: bool) -> Span:
    """The least and the greatest value of this many bits."""
    low = -(1 << bits - 1) if signed else 0
    return low, low + (1 << bits) - 1


def fitted(span: Span, bits: int, *, signed: bool) -> Span:
    """The span as pixels of fewer bits show it: a single value loses its upper bits, a range its ends."""
    low, high = storable(bits, signed=signed)
    if span[0] == span[1]:
        value = (int(span[0]) - int(low)) % (1 << bits) + low
        return value, value
    return max(span[0], low), min(span[1], high)


def within(stored_HW: NDArray[Any], span: Span) -> NDArray[np.bool_]:
    """Which pixels are padding."""
    return np.asarray((stored_HW >= span[0]) & (stored_HW <= span[1]))


def without(image_HW: NDArray[Any], padding_HW: NDArray[np.bool_]) -> NDArray[Any]:
    """The image with NaN for padding, in the smallest real type that holds its values exactly."""
    if not padding_HW.any():
        return image_HW
    real_HW: NDArray[Any] = image_HW.astype(np.result_type(image_HW.dtype, np.float32))
    real_HW[padding_HW] = np.nan
    return real_HW


def _whole(dataset: Dataset, tag: int, signed: bool) -> int | None:
    value = integer(dataset, tag)
    if value is None:
        return None
    value %= 1 << _HELD_BITS
    return value - (1 << _HELD_BITS) if signed and value >> _HELD_BITS - 1 else value
