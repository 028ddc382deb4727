from __future__ import annotations

import io
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gdcm
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from stages.base import Reason
from stages.batches import Frame
from stages.ingest import codecs
from stages.ingest.codecs import ORDER, check_installed
from stages.ingest.faults import Refusal
from tests.stages.ingest.maker import account, compressed, dicom, ramp, save

GDCM_SYNTAX = {
    JPEGBaseline8Bit: gdcm.TransferSyntax.JPEGBaselineProcess1,
    JPEGLossless: gdcm.TransferSyntax.JPEGLosslessProcess14,
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
}


def by_gdcm(image: NDArray, path: Path, syntax: UID) -> Path:
    """The image compressed by GDCM, for pydicom has no encoder for it."""
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(save(dicom(image), path)))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(GDCM_SYNTAX[syntax]))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert dcmread(path).file_meta.TransferSyntaxUID == syntax
    return path


def of_code(code: bytes, path: Path, syntax: UID, image: NDArray, **attributes: object) -> Path:
    """An object of this shape with this code stream."""
    dataset = dicom(image, samples=3 if image.ndim == 3 else 1, **attributes)
    dataset.PixelData = encapsulate([code], has_bot=False)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return save(dataset, path, syntax)


def code_of(path: Path) -> bytes:
    return get_frame(dcmread(path).PixelData, 0, number_of_frames=1)


def seen(path: Path) -> NDArray:
    (found,) = account(path)
    assert isinstance(found, Frame), found
    return found.image


def refused(path: Path) -> Refusal:
    (found,) = account(path)
    assert isinstance(found, Refusal), found
    return found


@contextmanager
def without(syntax: UID, *names: str) -> Iterator[None]:
    """These plugins for the syntax are not installed for a while."""
    installed = get_decoder(syntax)._available
    kept = {name: installed.pop(name) for name in names if name in installed}
    try:
        yield
    finally:
        installed.update(kept)


def test_the_installation_is_complete() -> None:
    """What a worker checks when it starts."""
    check_installed()


@pytest.mark.parametrize("syntax", ORDER, ids=lambda syntax: syntax.keyword)
def test_a_missing_first_decoder_is_named(syntax: UID) -> None:
    """With the package to install, before a single file is refused for it."""
    name = ORDER[syntax][0]
    with without(syntax, name), pytest.raises(RuntimeError, match=codecs._PACKAGES[name]):
        check_installed()


def test_a_syntax_whose_decoders_are_all_missing_is_unsupported(tmp_path: Path) -> None:
    """The frame is refused as such, not as corrupt."""
    path = compressed(dicom(ramp(40, 33)), tmp_path / "a", JPEGLSLossless)
    with without(JPEGLSLossless, "pyjpegls", "gdcm"):
        assert refused(path).reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2"])
def test_lossless_jpeg_loses_nothing(tmp_path: Path, syntax: UID, dtype: str) -> None:
    """Both selection values, signed or not."""
    image = ramp(40, 33, dtype, 250) - (100 if dtype[0] == "i" else 0)
    np.testing.assert_array_equal(seen(by_gdcm(image, tmp_path / "a", syntax)), image)


def colours() -> NDArray[np.uint8]:
    """Large patches, so that subsampling leaves their middles alone."""
    patches = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 90, 90]]], np.uint8)
    return patches.repeat(16, 0).repeat(16, 1)


@pytest.mark.parametrize(
    ("how", "photometric"),
    [
        ({"subsampling": "4:4:4"}, "YBR_FULL"),
        ({"subsampling": "4:2:0"}, "YBR_FULL_422"),
        ({"subsampling": "4:4:4", "keep_rgb": True}, "RGB"),
    ],
)
def test_colours_of_jpeg_become_their_luminance(
    tmp_path: Path, how: dict[str, object], photometric: str
) -> None:
    """Whether the stream holds luminance and chroma or red, green and blue."""
    out = io.BytesIO()
    Image.fromarray(colours()).save(out, "JPEG", quality=100, **how)
    path = of_code(
        out.getvalue(), tmp_path / "a", JPEGBaseline8Bit, colours(), PhotometricInterpretation=photometric
    )
    middles = seen(path)[8::16, 8::16].astype(int)
    assert np.abs(middles - [[76, 150], [29, 90]]).max() <= 2


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit])
def test_eight_bits_of_grey_are_read_under_either_syntax(tmp_path: Path, syntax: UID) -> None:
    """Lossy: within two grey values."""
    image = ramp(40, 33, "u1", 255)
    path = of_code(code_of(by_gdcm(image, tmp_path / "b", JPEGBaseline8Bit)), tmp_path / "a", syntax, image)
    assert np.abs(seen(path).astype(int) - image).max() <= 2


# ramp(16, 12) as JPEG Extended of 12 bits, by GDCM's encoder; libjpeg too reads it within one value.
TWELVE_BITS = b64decode(
    "/9j/2wBDAAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
    "AQH/wQALDAAQAAwBAREA/8QAFQABAQAAAAAAAAAAAAAAAAAACw7/xAAvEAAAAQcICwEAAAAAAAAAAAABAAYICQ0RMQQh"
    "KTZCUVRmFxgnQUNIYWNxcoGh/9oACAEBAAA/AJ53U8M2vqtQK4OfVs9B3G1+PuAkhUY2bX7HzdoFAtxRs7Emy0JXeap5"
    "ZtfVagVwfLZPYvNqL7gj4JIZGJm146HzdcoVG3BGwR4Emy0Hzo4v/9k="
)


def test_twelve_bits_of_grey_are_read_without_a_word(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """GDCM would complain on standard error, once a frame, if it were not told how many bits there are."""
    path = of_code(TWELVE_BITS, tmp_path / "a", JPEGExtended12Bit, ramp(16, 12), BitsStored=12, HighBit=11)
    with without(JPEGExtended12Bit, "pylibjpeg"):
        assert np.abs(seen(path).astype(int) - ramp(16, 12)).max() <= 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\xff\xc1\x00\x0b\x0c", b"\xff\xc1\x00\x0b\x10"),  # GDCM returns noise for a claim of 16 bits
        (b"\xff\xc1", b"\xff\xfe"),  # no start of frame
    ],
)
def test_what_is_no_jpeg_of_twelve_bits_is_corrupt(tmp_path: Path, old: bytes, new: bytes) -> None:
    """Neither noise nor an empty image comes of it."""
    code = TWELVE_BITS.replace(old, new)
    path = of_code(code, tmp_path / "a", JPEGExtended12Bit, ramp(16, 12), BitsStored=12, HighBit=11)
    assert refused(path).reason is Reason.CORRUPT


def test_signed_samples_of_twelve_bits_are_refused(tmp_path: Path) -> None:
    """Lossy JPEG has none; what a header means by it is unknown."""
    image = ramp(16, 12, "i2")
    path = of_code(TWELVE_BITS, tmp_path / "a", JPEGExtended12Bit, image, BitsStored=12, HighBit=11)
    with without(JPEGExtended12Bit, "pylibjpeg"):
        assert refused(path).reason is Reason.CORRUPT


def test_a_frame_that_the_first_decoder_refuses_goes_to_the_next(tmp_path: Path) -> None:
    """Twelve bits under the syntax of eight: Pillow refuses them, GDCM reads them."""
    path = of_code(TWELVE_BITS, tmp_path / "a", JPEGBaseline8Bit, ramp(16, 12), BitsStored=12, HighBit=11)
    assert np.abs(seen(path).astype(int) - ramp(16, 12)).max() <= 1
    with without(JPEGBaseline8Bit, "gdcm", "pylibjpeg"):
        assert refused(path).reason is Reason.CORRUPT


def test_a_decoder_that_is_not_there_is_passed_over(tmp_path: Path) -> None:
    """The next one gives the same pixels."""
    path = compressed(dicom(ramp(40, 33)), tmp_path / "a", JPEGLSLossless)
    with without(JPEGLSLossless, "pyjpegls"):
        np.testing.assert_array_equal(seen(path), ramp(40, 33))


def test_damaged_jpeg_ls_is_refused_by_all(tmp_path: Path) -> None:
    """No decoder in the order paints what is missing; libjpeg would."""
    path = compressed(dicom(ramp(40, 33)), tmp_path / "a", JPEGLSLossless)
    code = code_of(path).rstrip(b"\0")
    made = of_code(code[: len(code) // 2] + b"\xff\xd9", tmp_path / "b", JPEGLSLossless, ramp(40, 33))
    assert refused(made).reason is Reason.CORRUPT


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLosslessSV1])
def test_a_jpeg_without_its_end_is_truncated(tmp_path: Path, syntax: UID) -> None:
    """Though its item is whole; libjpeg would paint the rest grey."""
    image = ramp(40, 33, "u1", 255)
    code = code_of(by_gdcm(image, tmp_path / "b", syntax)).rstrip(b"\0")
    assert code.endswith(b"\xff\xd9")
    np.testing.assert_allclose(seen(of_code(code, tmp_path / "a", syntax, image)), image, atol=2)
    made = of_code(code[: len(code) // 2], tmp_path / "a", syntax, image)
    assert refused(made).reason is Reason.TRUNCATED
