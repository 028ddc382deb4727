from __future__ import annotations

import io
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import convert_color_space
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from stages.base import Reason
from stages.batches import Frame
from stages.ingest import codecs
from stages.ingest.codecs import ORDER, check_installed
from stages.ingest.faults import Refusal
from stages.ingest.rescale import luminance
from tests.stages.ingest.maker import account, compressed, dicom, ramp, save


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
    kept = dict(installed)  # whole, because their order is the order that pydicom asks them in
    for name in names:
        installed.pop(name, None)
    try:
        yield
    finally:
        installed.clear()
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
    with without(JPEGLSLossless, "pyjpegls", "imagecodecs"):
        assert refused(path).reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("missing", ["pyjpegls", "imagecodecs"])
@pytest.mark.parametrize(("dtype", "bits"), [("u1", 8), ("u2", 16), ("i2", 16), ("u2", 12), ("i2", 12)])
def test_either_build_of_charls_gives_the_same_pixels(
    tmp_path: Path, missing: str, dtype: str, bits: int
) -> None:
    """What one refuses is tried on the other."""
    image = ramp(40, 33, dtype, 250) - (100 if dtype[0] == "i" else 0)
    path = compressed(dicom(image, BitsStored=bits, HighBit=bits - 1), tmp_path / "a", JPEGLSLossless)
    with without(JPEGLSLossless, missing):
        np.testing.assert_array_equal(seen(path), image)


@pytest.mark.parametrize("missing", ["pyjpegls", "imagecodecs"])
def test_colours_of_jpeg_ls_become_their_luminance_by_either(tmp_path: Path, missing: str) -> None:
    """Interleaved by pixel in the stream."""
    image = np.stack([ramp(40, 33, "u1", 250), ramp(40, 33, "u1", 90), ramp(40, 33, "u1", 30)], -1)
    path = compressed(dicom(image, samples=3), tmp_path / "a", JPEGLSLossless)
    with without(JPEGLSLossless, missing):
        np.testing.assert_array_equal(seen(path), luminance(image))


@pytest.mark.parametrize("syntax", [HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL], ids=lambda one: one.keyword)
@pytest.mark.parametrize(("dtype", "most"), [("u1", 255), ("u2", 4095), ("u2", 65535)])
def test_high_throughput_jpeg_2000_is_read(tmp_path: Path, syntax: UID, dtype: str, most: int) -> None:
    """ITU-T T.814, by OpenJPEG."""
    image = ramp(40, 33, dtype, most)
    path = of_code(imagecodecs.htj2k_encode(image), tmp_path / "a", syntax, image)
    np.testing.assert_array_equal(seen(path), image)


@pytest.mark.parametrize(("syntax", "predictor"), [(JPEGLossless, 4), (JPEGLosslessSV1, 1)])
@pytest.mark.parametrize(("dtype", "bits"), [("u1", 8), ("u2", 16), ("i2", 16), ("u2", 12), ("i2", 12)])
def test_lossless_jpeg_loses_nothing(
    tmp_path: Path, syntax: UID, predictor: int, dtype: str, bits: int
) -> None:
    """Signed or not, with the upper bits in use or not."""
    image = ramp(40, 33, dtype, 250) - (100 if dtype[0] == "i" else 0)
    stored = (image.view(f"u{image.itemsize}") & ((1 << bits) - 1)).astype(f"u{image.itemsize}")
    code = imagecodecs.jpeg8_encode(stored, lossless=True, predictor=predictor, bitspersample=bits)
    path = of_code(code, tmp_path / "a", syntax, image, BitsStored=bits, HighBit=bits - 1)
    np.testing.assert_array_equal(seen(path), image)


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colours_of_lossless_jpeg_become_their_luminance(
    tmp_path: Path, photometric: str, planar: int
) -> None:
    """As the header says, of components that have numbers and no names; its planes are no concern."""
    stored = colours() if photometric == "RGB" else convert_color_space(colours(), "RGB", "YBR_FULL")
    code = imagecodecs.jpeg8_encode(stored, lossless=True, colorspace="RGB", outcolorspace="RGB")
    for name, number in ((b"R", b"\1"), (b"G", b"\2"), (b"B", b"\3")):
        code = code.replace(name + b"\x11\0", number + b"\x11\0").replace(name + b"\0", number + b"\0", 1)
    said = {"PhotometricInterpretation": photometric, "PlanarConfiguration": planar}
    path = of_code(code, tmp_path / "a", JPEGLosslessSV1, colours(), **said)
    assert np.abs(seen(path)[8::16, 8::16].astype(int) - [[76, 150], [29, 90]]).max() <= 1


def colours() -> NDArray[np.uint8]:
    """Large patches, so that subsampling leaves their middles alone."""
    patches = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 90, 90]]], np.uint8)
    return patches.repeat(16, 0).repeat(16, 1)


@pytest.mark.parametrize("missing", ["none", "pillow"])
@pytest.mark.parametrize(
    ("how", "photometric"),
    [
        ({"subsampling": "4:4:4"}, "YBR_FULL"),
        ({"subsampling": "4:2:0"}, "YBR_FULL_422"),
        ({"subsampling": "4:4:4", "keep_rgb": True}, "RGB"),
    ],
)
def test_colours_of_jpeg_become_their_luminance(
    tmp_path: Path, how: dict[str, object], photometric: str, missing: str
) -> None:
    """Whether the stream holds luminance and chroma or red, green and blue; by either decoder."""
    out = io.BytesIO()
    Image.fromarray(colours()).save(out, "JPEG", quality=100, **how)
    path = of_code(
        out.getvalue(), tmp_path / "a", JPEGBaseline8Bit, colours(), PhotometricInterpretation=photometric
    )
    with without(JPEGBaseline8Bit, missing):
        middles = seen(path)[8::16, 8::16].astype(int)
    assert np.abs(middles - [[76, 150], [29, 90]]).max() <= 2


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit])
def test_eight_bits_of_grey_are_read_under_either_syntax(tmp_path: Path, syntax: UID) -> None:
    """Lossy: within two grey values."""
    image = ramp(40, 33, "u1", 255)
    path = of_code(imagecodecs.jpeg8_encode(image, level=95), tmp_path / "a", syntax, image)
    assert np.abs(seen(path).astype(int) - image).max() <= 2


# ramp(16, 12) as JPEG Extended of 12 bits, by GDCM's encoder; libjpeg too reads it within one value.
TWELVE_BITS = b64decode(
    "/9j/2wBDAAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
    "AQH/wQALDAAQAAwBAREA/8QAFQABAQAAAAAAAAAAAAAAAAAACw7/xAAvEAAAAQcICwEAAAAAAAAAAAABAAYICQ0RMQQh"
    "KTZCUVRmFxgnQUNIYWNxcoGh/9oACAEBAAA/AJ53U8M2vqtQK4OfVs9B3G1+PuAkhUY2bX7HzdoFAtxRs7Emy0JXeap5"
    "ZtfVagVwfLZPYvNqL7gj4JIZGJm146HzdcoVG3BGwR4Emy0Hzo4v/9k="
)


def test_twelve_bits_of_grey_are_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without a word on standard error, and without the GPL extra."""
    path = of_code(TWELVE_BITS, tmp_path / "a", JPEGExtended12Bit, ramp(16, 12), BitsStored=12, HighBit=11)
    with without(JPEGExtended12Bit, "pylibjpeg"):
        assert np.abs(seen(path).astype(int) - ramp(16, 12)).max() <= 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\xff\xc1\x00\x0b\x0c", b"\xff\xc1\x00\x0b\x10"),  # 16 bits, which no lossy JPEG has
        (b"\xff\xc1", b"\xff\xfe"),  # no start of frame
    ],
)
def test_what_is_no_jpeg_of_twelve_bits_is_corrupt(tmp_path: Path, old: bytes, new: bytes) -> None:
    """Neither noise nor an empty image comes of it."""
    code = TWELVE_BITS.replace(old, new)
    path = of_code(code, tmp_path / "a", JPEGExtended12Bit, ramp(16, 12), BitsStored=12, HighBit=11)
    assert refused(path).reason is Reason.CORRUPT


def test_a_frame_that_the_first_decoder_refuses_goes_to_the_next(tmp_path: Path) -> None:
    """Twelve bits under the syntax of eight: Pillow refuses them, the next decoder reads them."""
    path = of_code(TWELVE_BITS, tmp_path / "a", JPEGBaseline8Bit, ramp(16, 12), BitsStored=12, HighBit=11)
    assert np.abs(seen(path).astype(int) - ramp(16, 12)).max() <= 1
    with without(JPEGBaseline8Bit, "imagecodecs", "pylibjpeg"):
        assert refused(path).reason is Reason.CORRUPT


def test_a_decoder_that_is_not_there_is_passed_over(tmp_path: Path) -> None:
    """The next one gives the same pixels."""
    path = compressed(dicom(ramp(40, 33)), tmp_path / "a", RLELossless)
    with without(RLELossless, "pylibjpeg"):
        np.testing.assert_array_equal(seen(path), ramp(40, 33))


@pytest.mark.parametrize(
    ("stored", "claimed"),
    [(ramp(40, 33), ramp(40, 33, "u1", 255)), (colours(), colours()[..., 0]), (colours()[..., 0], colours())],
    ids=["more bits", "colour for grey", "grey for colour"],
)
def test_a_stream_of_other_samples_than_the_header_s_is_corrupt(
    tmp_path: Path, stored: NDArray, claimed: NDArray
) -> None:
    """Its bytes would be taken for other pixels."""
    code = imagecodecs.jpeg8_encode(np.ascontiguousarray(stored), lossless=True)
    path = of_code(code, tmp_path / "a", JPEGLosslessSV1, np.ascontiguousarray(claimed))
    with without(JPEGLosslessSV1, "pylibjpeg"):
        assert isinstance(refused(path), Refusal)


def test_damaged_jpeg_ls_is_refused_by_all(tmp_path: Path) -> None:
    """No decoder in the order paints what is missing; libjpeg would."""
    path = compressed(dicom(ramp(40, 33)), tmp_path / "a", JPEGLSLossless)
    code = code_of(path).rstrip(b"\0")
    made = of_code(code[: len(code) // 2] + b"\xff\xd9", tmp_path / "b", JPEGLSLossless, ramp(40, 33))
    for missing in ("pyjpegls", "imagecodecs"):
        with without(JPEGLSLossless, missing):
            assert refused(made).reason is Reason.CORRUPT


@pytest.mark.parametrize(
    ("syntax", "how"), [(JPEGBaseline8Bit, {"level": 95}), (JPEGLosslessSV1, {"lossless": True})]
)
def test_a_jpeg_without_its_end_is_truncated(tmp_path: Path, syntax: UID, how: dict[str, object]) -> None:
    """Though its item is whole: decoders would paint the rest."""
    image = ramp(40, 33, "u1", 255)
    code = imagecodecs.jpeg8_encode(image, **how)
    assert code.endswith(b"\xff\xd9")
    np.testing.assert_allclose(seen(of_code(code, tmp_path / "a", syntax, image)), image, atol=2)
    made = of_code(code[: len(code) // 2], tmp_path / "a", syntax, image)
    assert refused(made).reason is Reason.TRUNCATED
