"""Which decoders take which transfer syntax, in an order that is the same on every machine.

The first decoder of an order is always installed. A frame that it refuses goes to the next one that is
there, because decoders differ in the variants that they know. The order runs from strict to lenient, and
GDCM stands nowhere in it: a damaged frame can end the process (see ``turbojpeg``).
``pylibjpeg`` stands for OpenJPEG, for a decoder of RLE, and for libjpeg: that one is under the GPL-3, comes
with the extra ``gpl-jpeg`` only, and is not asked for JPEG-LS, where it paints what a damaged frame lacks.
"""

from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from stages.ingest import charls, turbojpeg

ORDER: Final = {
    JPEGBaseline8Bit: ("pillow", "imagecodecs", "pylibjpeg"),
    JPEGExtended12Bit: ("pillow", "imagecodecs", "pylibjpeg"),
    JPEGLossless: ("imagecodecs", "pylibjpeg"),
    JPEGLosslessSV1: ("imagecodecs", "pylibjpeg"),
    # CharLS gives the same pixels as pylibjpeg's JPEG-LS in a third of the time.
    JPEGLSLossless: ("pyjpegls", "imagecodecs"),
    JPEGLSNearLossless: ("pyjpegls", "imagecodecs"),
    JPEG2000Lossless: ("pylibjpeg",),
    JPEG2000: ("pylibjpeg",),
    HTJ2KLossless: ("pylibjpeg",),
    HTJ2KLosslessRPCL: ("pylibjpeg",),
    HTJ2K: ("pylibjpeg",),
    RLELossless: ("pylibjpeg", "pydicom"),
}
_PACKAGES: Final = {
    "imagecodecs": "imagecodecs",
    "pillow": "pillow",
    "pyjpegls": "pyjpegls",
    "pylibjpeg": "pylibjpeg with pylibjpeg-openjpeg and pylibjpeg-rle",
}

# pydicom keeps one table of plugins a process; importing this module is what adds to it, once.
for _plugin in (turbojpeg, charls):
    for _syntax in _plugin.DECODER_DEPENDENCIES:
        get_decoder(_syntax).add_plugin("imagecodecs", (_plugin.__name__, _plugin.decode_frame.__name__))


def decoded(decoder: Decoder, code: bytes, options: dict[str, Any]) -> tuple[NDArray[Any], dict[str, Any]]:
    """The one frame of an encapsulated code stream, and what describes its pixels now."""
    failures: list[RuntimeError] = []  # pydicom makes one of whatever a decoder raises
    for name in ORDER.get(decoder.UID, ()):
        if name in decoder.available_plugins:
            try:
                return decoder.as_array(code, index=0, decoding_plugin=name, **options)
            except RuntimeError as error:
                failures.append(error)
    raise failures[0] if failures else NotImplementedError(f"No decoder for {decoder.UID.name} is installed.")


def check_installed() -> None:
    """Fail where the first decoder of an order is missing: sound files would be refused one by one."""
    for syntax, order in ORDER.items():
        if order[0] not in get_decoder(syntax).available_plugins:
            raise RuntimeError(f"The decoder for {syntax.name} is missing; install {_PACKAGES[order[0]]}.")
