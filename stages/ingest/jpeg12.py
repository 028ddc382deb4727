"""JPEG Extended of 12 bits a sample (ITU-T T.81 process 4) through GDCM.

Decoded here because pydicom's plugin refuses it: GDCM, given the bits that are allocated, tries its 16-bit
decoder first and complains on the process's standard error. Given 12 bits it takes the right one at once.
"""

from __future__ import annotations

from typing import Any, Final

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import generate_frames

from stages.ingest.fragments import jpeg_header

_BITS: Final = 12


def decode_12_bits(code: bytes, options: dict[str, Any]) -> NDArray[np.uint16]:
    """The grey frame of an encapsulated code stream."""
    if options["samples_per_pixel"] != 1 or options["pixel_representation"] != 0:
        raise NotImplementedError("Only unsigned grey frames of 12 bits are decoded.")
    held = next(generate_frames(code, number_of_frames=1))
    start = jpeg_header(held)
    if start is None or start[0] != _BITS:
        raise RuntimeError("The code stream is no JPEG of 12 bits a sample.")  # GDCM would return noise
    shape = options["rows"], options["columns"]
    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(held)
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((shape[1], shape[0], 1))
    image.SetDataElement(element)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetPhotometricInterpretation(
        gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2)
    )
    image.SetPixelFormat(gdcm.PixelFormat(1, _BITS, _BITS, _BITS - 1, 0))
    buffer = image.GetBuffer()  # bytes, as text with surrogates; nothing where decoding failed
    if buffer is None:
        raise RuntimeError("GDCM does not decode the frame.")
    pixels = np.frombuffer(buffer.encode("utf-8", "surrogateescape"), "<u2")
    return pixels.reshape(shape).astype(np.uint16)
