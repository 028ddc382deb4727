from __future__ import annotations

from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from stages.base import Reason
from stages.batches import Frame
from stages.ingest import dicom as reader
from stages.ingest import elements
from stages.ingest.decode import read_frames
from stages.ingest.faults import Refusal
from stages.ingest.options import IngestOptions
from stages.places import FileKind, Place
from tests.stages.ingest.maker import compressed, dicom, item, ramp, save

OPTIONS = IngestOptions()


def read(path: Path, frame: int = 0, options: IngestOptions = OPTIONS) -> Frame:
    (found,) = read_frames([Place(str(path), frame, FileKind.DICOM)], options)
    assert isinstance(found, Frame), found
    return found


def refused(path: Path, frame: int = 0, options: IngestOptions = OPTIONS) -> Refusal:
    (found,) = read_frames([Place(str(path), frame, FileKind.DICOM)], options)
    assert isinstance(found, Refusal)
    return found


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
def test_native_pixels_come_as_stored(tmp_path: Path, syntax: UID, dtype: str) -> None:
    """Every integer type, signed or not, under every little-endian syntax."""
    image = ramp(dtype=dtype, most=100) - (50 if dtype[0] == "i" else 0)
    found = read(save(dicom(image), tmp_path / "a", syntax)).image
    np.testing.assert_array_equal(found, image)
    assert found.dtype == np.dtype(dtype)


def test_big_endian_pixels_come_in_the_machine_s_order(tmp_path: Path) -> None:
    """Retired, and still in archives."""
    stored = dicom(ramp().astype(">u2"))
    stored.set_original_encoding(False, False)
    found = read(save(stored, tmp_path / "a", ExplicitVRBigEndian)).image
    np.testing.assert_array_equal(found, ramp())
    assert found.dtype.isnative


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2"])
def test_lossless_compression_loses_nothing(tmp_path: Path, syntax: UID, dtype: str) -> None:
    """The decoder of each family gives back what the encoder was given."""
    image = ramp(40, 33, dtype, 250) - (100 if dtype[0] == "i" else 0)
    np.testing.assert_array_equal(read(compressed(dicom(image), tmp_path / "a", syntax)).image, image)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_frames_are_read_by_their_number(tmp_path: Path, syntax: UID) -> None:
    """In any order, each once, from one opening of the file."""
    frames = np.stack([ramp(40, 33) + 7 * frame for frame in range(5)]).astype(np.uint16)
    path = tmp_path / "a"
    if syntax.is_encapsulated:
        compressed(dicom(frames), path, syntax)
    else:
        save(dicom(frames), path)
    found = read_frames([Place(str(path), frame, FileKind.DICOM) for frame in (3, 0, 4)], OPTIONS)
    for one, frame in zip(found, (3, 0, 4), strict=True):
        assert isinstance(one, Frame)
        np.testing.assert_array_equal(one.image, frames[frame])


def test_one_bit_pixels_are_unpacked(tmp_path: Path) -> None:
    """A segmentation's frames, eight pixels a byte, not aligned to bytes."""
    frames = (np.arange(3 * 5 * 5).reshape(3, 5, 5) % 3 == 0).astype(np.uint8)
    packed = dicom(frames, BitsAllocated=1, BitsStored=1, HighBit=0)
    packed.PixelData = np.packbits(frames.ravel(), bitorder="little").tobytes()
    path = save(packed, tmp_path / "a")
    for frame in range(3):
        np.testing.assert_array_equal(read(path, frame).image, frames[frame])


@pytest.mark.parametrize(("keyword", "dtype"), [("FloatPixelData", "f4"), ("DoubleFloatPixelData", "f8")])
def test_real_pixels_come_as_stored(tmp_path: Path, keyword: str, dtype: str) -> None:
    """Parametric maps: no integers, no Bits Stored."""
    image = np.linspace(-1.5, 3.25, 30).reshape(5, 6).astype(dtype)
    mapped = dicom(image)
    del mapped.PixelData, mapped.BitsStored, mapped.HighBit, mapped.PixelRepresentation
    setattr(mapped, keyword, image.tobytes())
    np.testing.assert_array_equal(read(save(mapped, tmp_path / "a")).image, image)


def test_bits_above_those_stored_are_ignored(tmp_path: Path) -> None:
    """Old writers keep an overlay in the four upper bits."""
    image = ramp(most=4095)
    overlay = dicom(image | 0xA000, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read(save(overlay, tmp_path / "a")).image, image)


def test_rescale_gives_hounsfield_units(tmp_path: Path) -> None:
    """Water is 0 and air -1000, as integers."""
    stored = dicom(np.array([[24, 1024]], np.uint16), RescaleSlope="1", RescaleIntercept="-1024.0")
    found = read(save(stored, tmp_path / "a")).image
    np.testing.assert_array_equal(found, [[-1000, 0]])
    assert found.dtype == np.int16


def test_a_modality_table_is_looked_up(tmp_path: Path) -> None:
    """Values below the first entry and above the last get theirs (PS3.3 section C.11.1.1)."""
    table = item(LUTDescriptor=[3, 10, 16], LUTData=[100, 200, 300], ModalityLUTType="US")
    table[0]["LUTDescriptor"].VR = table[0]["LUTData"].VR = "US"
    stored = dicom(np.array([[9, 10, 11, 12, 13]], np.uint16), ModalityLUTSequence=table)
    np.testing.assert_array_equal(read(save(stored, tmp_path / "a")).image, [[100, 100, 200, 300, 300]])


def test_an_empty_modality_table_is_none(tmp_path: Path) -> None:
    """Some writers leave an item without values."""
    stored = dicom(ramp(), ModalityLUTSequence=item(LUTDescriptor=None, LUTData=None))
    stored.ModalityLUTSequence[0]["LUTDescriptor"].VR = "US"
    stored.ModalityLUTSequence[0]["LUTData"].VR = "US"
    np.testing.assert_array_equal(read(save(stored, tmp_path / "a")).image, ramp())


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    """Its smallest stored value is shown white: bright must mean bright for the network."""
    image = ramp(most=4095)
    stored = dicom(image, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read(save(stored, tmp_path / "a")).image, 4095 - image)


def test_monochrome1_is_inverted_about_what_can_be_stored_of_its_quantity(tmp_path: Path) -> None:
    """Signed, with a rescale: -128..127 doubled is -256..254, reflected about -1."""
    image = ramp(dtype="i1", most=100)
    stored = dicom(image, PhotometricInterpretation="MONOCHROME1", RescaleSlope=2, RescaleIntercept=0)
    np.testing.assert_allclose(read(save(stored, tmp_path / "a")).image, -2 - 2.0 * image)


def test_real_monochrome1_is_inverted_about_what_is_stored(tmp_path: Path) -> None:
    """What could be stored has no ends."""
    image = np.linspace(-1.5, 3.25, 30).reshape(5, 6).astype("f4")
    mapped = dicom(image, PhotometricInterpretation="MONOCHROME1")
    del mapped.PixelData, mapped.BitsStored, mapped.HighBit, mapped.PixelRepresentation
    mapped.FloatPixelData = image.tobytes()
    np.testing.assert_allclose(read(save(mapped, tmp_path / "a")).image, 1.75 - image, atol=1e-6)


def test_the_voi_window_is_not_applied(tmp_path: Path) -> None:
    """A narrow window would cut off what another reader needs."""
    stored = dicom(ramp(), WindowCenter=5, WindowWidth=2)
    np.testing.assert_array_equal(read(save(stored, tmp_path / "a")).image, ramp())


def colours() -> NDArray[np.uint8]:
    return np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 90, 90]]], np.uint8)


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_becomes_luminance(tmp_path: Path, planar: int) -> None:
    """Either planar configuration; BT.601 weights."""
    image = np.moveaxis(colours(), -1, 0) if planar else colours()
    stored = dicom(colours(), samples=3, PlanarConfiguration=planar)
    stored.PixelData = image.tobytes()
    np.testing.assert_array_equal(read(save(stored, tmp_path / "a")).image, [[76, 150], [29, 90]])


def test_luminance_of_ybr_is_its_first_channel(tmp_path: Path) -> None:
    """The same grey comes from YBR_FULL as from RGB, within the rounding of the conversion."""
    ybr = convert_color_space(colours(), "RGB", "YBR_FULL")
    stored = dicom(ybr, samples=3, PhotometricInterpretation="YBR_FULL")
    found = read(save(stored, tmp_path / "a")).image.astype(int)
    assert np.abs(found - ybr[..., 0]).max() <= 1


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    """Stored are indices; seen are colours, here the greys 10, 20 and 30."""
    stored = dicom(np.array([[0, 1, 2]], np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(stored, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 8])
        setattr(stored, f"{colour}PaletteColorLookupTableData", bytes([10, 20, 30, 40]))
    np.testing.assert_array_equal(read(save(stored, tmp_path / "a")).image, [[10, 20, 30]])


def without(dataset: Dataset, keyword: str) -> Dataset:
    delattr(dataset, keyword)
    return dataset


@pytest.mark.parametrize("keyword", ["Rows", "BitsAllocated", "PhotometricInterpretation"])
def test_a_header_that_does_not_describe_its_pixels_is_corrupt(tmp_path: Path, keyword: str) -> None:
    """And the sentence says what is missing."""
    found = refused(save(without(dicom(ramp()), keyword), tmp_path / "a"))
    assert found.reason is Reason.CORRUPT
    assert "lacks" in found.detail


@pytest.mark.parametrize("allocated", [2, 4, 10, 12, 14, 24, 48])
def test_packed_samples_are_unsupported_and_told_so(tmp_path: Path, allocated: int) -> None:
    """ACR-NEMA and some detectors pack two samples of 12 bits into three bytes."""
    packed = dicom(ramp(), BitsAllocated=allocated, BitsStored=allocated, HighBit=allocated - 1)
    found = refused(save(packed, tmp_path / "a"))
    assert found.reason is Reason.UNSUPPORTED
    assert f"{allocated} bits" in found.detail
    assert "convert" in found.detail


def test_no_bits_at_all_are_corrupt(tmp_path: Path) -> None:
    """The header contradicts itself."""
    assert refused(save(dicom(ramp(), BitsAllocated=0), tmp_path / "a")).reason is Reason.CORRUPT


@pytest.mark.parametrize(
    "syntax",
    [
        *(ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian),
        *(RLELossless, JPEGLSLossless, JPEG2000Lossless),
    ],
)
@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("u1", 8), ("u1", 6), ("u2", 16), ("u2", 12), ("i1", 8), ("i2", 16), ("i2", 12)],
)
def test_monochrome1_is_reflected_about_what_can_be_stored(
    tmp_path: Path, syntax: UID, dtype: str, bits: int
) -> None:
    """In every frame, under every syntax: dark is bright."""
    frames = np.stack([ramp(40, 33, dtype, (1 << bits - 1) - 1)] * 2)
    frames[1] = frames[1][::-1]
    low = -(1 << bits - 1) if dtype[0] == "i" else 0
    stored = dicom(frames, BitsStored=bits, HighBit=bits - 1, PhotometricInterpretation="MONOCHROME1")
    path = (compressed if syntax.is_encapsulated else save)(stored, tmp_path / "a", syntax)
    for frame in range(2):
        expected = 2 * low + (1 << bits) - 1 - frames[frame].astype(int)
        np.testing.assert_array_equal(read(path, frame).image, expected)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLosslessSV1])
def test_monochrome1_in_jpeg_is_reflected(tmp_path: Path, syntax: UID) -> None:
    """Lossy within a few values, lossless exactly."""
    image = ramp(40, 33, "u1", 255)
    code = imagecodecs.jpeg8_encode(image, lossless=syntax == JPEGLosslessSV1, level=98)
    stored = dicom(image, PhotometricInterpretation="MONOCHROME1", PixelData=encapsulate([code]))
    stored["PixelData"].is_undefined_length = True
    found = read(save(stored, tmp_path / "a", syntax)).image.astype(int)
    assert np.abs(found - (255 - image.astype(int))).max() <= (0 if syntax == JPEGLosslessSV1 else 8)


def test_a_frame_over_the_limit_is_too_large(tmp_path: Path) -> None:
    """Before it is decoded."""
    path = save(dicom(ramp()), tmp_path / "a")
    assert refused(path, options=IngestOptions(max_pixels=119)).reason is Reason.TOO_LARGE
    assert read(path, options=IngestOptions(max_pixels=120)).image.size == 120


def test_a_syntax_that_nobody_decodes_is_unsupported(tmp_path: Path) -> None:
    """Video, for one."""
    path = save(dicom(ramp()), tmp_path / "a")
    mpeg = b"1.2.840.10008.1.2.4.100"
    held = path.read_bytes()
    meta = held.index(b"\x02\0\x10\0UI")
    end = held.index(b"\x02\0\x12\0UI")
    path.write_bytes(held[:meta] + b"\x02\0\x10\0UI\x18\0" + mpeg + b"\0" + held[end:])
    assert refused(path).reason is Reason.UNSUPPORTED


def test_a_slope_of_zero_is_corrupt(tmp_path: Path) -> None:
    """It would make the image constant."""
    stored = dicom(ramp(), RescaleSlope=0, RescaleIntercept=0)
    assert refused(save(stored, tmp_path / "a")).reason is Reason.CORRUPT


def test_frames_before_the_cut_of_a_file_are_read(tmp_path: Path) -> None:
    """The others are truncated, each by itself."""
    path = save(dicom(np.stack([ramp()] * 3)), tmp_path / "a")
    path.write_bytes(path.read_bytes()[: -ramp().nbytes - 1])
    np.testing.assert_array_equal(read(path, 0).image, ramp())
    assert refused(path, 1).reason is Reason.TRUNCATED
    assert refused(path, 2).reason is Reason.TRUNCATED


def test_a_subsampled_photometric_that_is_not_subsampled_is_corrupt(tmp_path: Path) -> None:
    """Native YBR_FULL_422 takes two bytes a pixel; three would be read as stripes."""
    stored = dicom(colours(), samples=3, PhotometricInterpretation="YBR_FULL_422")
    assert refused(save(stored, tmp_path / "a")).reason is Reason.CORRUPT


def test_a_deflated_bomb_is_unfolded_no_further_than_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of kilobytes that holds megabytes."""
    path = save(dicom(np.zeros((1000, 1000), np.uint16)), tmp_path / "a", DeflatedExplicitVRLittleEndian)
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(elements, "_UNFOLDED_BYTES", 10**6)
    assert refused(path).reason is Reason.TOO_LARGE


def test_a_large_file_is_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the bound the whole file is parsed in memory; beyond it memory does not grow with the file."""
    held: list[int] = []

    class Held(BytesIO):
        def __init__(self, data: bytes) -> None:
            super().__init__(data)
            held.append(len(data))

    path = save(dicom(ramp()), tmp_path / "a.dcm")
    size = path.stat().st_size
    monkeypatch.setattr(reader, "BytesIO", Held)
    for most, in_memory in ((size - 1, []), (size, [size])):
        monkeypatch.setattr(reader, "_IN_MEMORY_BYTES", most)
        assert np.array_equal(read(path).image, ramp())
        assert held == in_memory
