"""JPEG through libjpeg-turbo of imagecodecs, as a decoding plugin of pydicom.

It knows what Pillow's build of the same library does not: 12 bits a sample, and lossless frames of up to 16.
pydicom's own plugin for these is GDCM, and that was tried: one changed byte in the markers of a frame ended
the process in 506 of 14,750 trials (an uncaught C++ exception, or a segmentation fault); here in none.
Required by pydicom of a plugin: ``DECODER_DEPENDENCIES``, ``is_available`` and the function.
"""

from __future__ import annotations

from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import UID, JPEGTransferSyntaxes

from stages.ingest.fragments import jpeg_header

DECODER_DEPENDENCIES: Final = dict.fromkeys(JPEGTransferSyntaxes, ("imagecodecs>=2025.3.30",))
# One space for both ends keeps the components as they are stored; pydicom converts colours, for all plugins.
_SPACES: Final = {1: None, 3: "RGB"}


def is_available(syntax: UID) -> bool:
    """Whether the plugin decodes this transfer syntax."""
    return syntax in DECODER_DEPENDENCIES


def decode_frame(code: bytes, runner: DecodeRunner) -> bytes:
    """The frame's samples in the bits that the header allocates, colour by pixel."""
    start = jpeg_header(code)
    if start is None or start.components not in _SPACES:
        raise NotImplementedError("The code stream has neither one nor three samples a pixel.")
    if start.bits > runner.bits_allocated:
        raise NotImplementedError("The code stream has more bits a sample than the header allocates.")
    space = _SPACES[start.components]
    pixels: NDArray[Any] = imagecodecs.jpeg8_decode(code, colorspace=space, outcolorspace=space)
    runner.set_option("planar_configuration", 0)
    return pixels.astype(np.dtype(f"<u{runner.bits_allocated // 8}"), copy=False).tobytes()
