"""Which decoder takes which transfer syntax: always the same, so that a frame decodes alike everywhere."""

from __future__ import annotations

from typing import Final

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

# CharLS (pyjpegls) gives the same pixels as pylibjpeg's JPEG-LS in a third of the time.
_SPECIAL: Final = {JPEGLSLossless: "pyjpegls", JPEGLSNearLossless: "pyjpegls"}
_ONE_OF_EACH: Final = (  # pylibjpeg is three packages, for JPEG, JPEG 2000 and RLE
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2KLossless,
    RLELossless,
)


def plugin(syntax: UID) -> str:
    """The pydicom decoding plugin for a syntax; native syntaxes need none and ignore it."""
    return _SPECIAL.get(syntax, "pylibjpeg")


def check_installed() -> None:
    """Fail where a decoder is missing: sound files would be refused one by one."""
    for syntax in _ONE_OF_EACH:
        if plugin(syntax) not in get_decoder(syntax).available_plugins:
            raise RuntimeError(f"The decoder for {syntax.name} is missing; install {plugin(syntax)}.")
