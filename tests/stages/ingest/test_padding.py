"""Padding in objects of every kind: what is stated is NaN, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from stages.batches import Frame
from stages.ingest.decode import read_frames
from stages.ingest.options import IngestOptions
from stages.ingest.padding import fitted, padding_span, storable
from stages.places import FileKind, Place
from tests.stages.ingest.maker import compressed, dicom, item, ramp, save

NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)


def seen(dataset: Dataset, path: Path, syntax: UID = ExplicitVRLittleEndian, frame: int = 0) -> np.ndarray:
    (compressed if syntax.is_encapsulated else save)(dataset, path, syntax)
    (found,) = read_frames([Place(str(path), frame, FileKind.DICOM)], IngestOptions())
    assert isinstance(found, Frame), found
    return found.image


def stated(dataset: Dataset, value: int, limit: int | None = None) -> Dataset:
    """The object with a Pixel Padding Value, and a Pixel Padding Range Limit."""
    kind = "SS" if dataset.PixelRepresentation else "US"
    dataset.add_new(0x00280120, kind, value)
    if limit is not None:
        dataset.add_new(0x00280121, kind, limit)
    return dataset


@pytest.mark.parametrize("syntax", [*NATIVE, RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize(
    ("dtype", "value"), [("u1", 255), ("u2", 65535), ("u2", 0), ("i2", -2000), ("i1", -128)]
)
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_the_padding_value_becomes_nan_before_all_else(
    tmp_path: Path, syntax: UID, dtype: str, value: int, photometric: str
) -> None:
    """Signed or not, native or compressed, and the rest is what it is without padding."""
    image = ramp(40, 33, dtype, 100) + np.asarray(5, dtype)
    other = {"PhotometricInterpretation": photometric, "RescaleSlope": 2, "RescaleIntercept": -7}
    expected = seen(dicom(image, **other), tmp_path / "a", syntax).astype(float)
    image[:3], expected[:3] = value, np.nan
    np.testing.assert_array_equal(
        seen(stated(dicom(image, **other), value), tmp_path / "b", syntax), expected
    )


@pytest.mark.parametrize("ends", [(10, 20), (20, 10)])
@pytest.mark.parametrize("dtype", ["u2", "i2"])
def test_a_range_holds_both_its_ends_in_either_order(
    tmp_path: Path, ends: tuple[int, int], dtype: str
) -> None:
    """The limit stands above or below the value."""
    image = ramp(dtype=dtype, most=119)
    expected = np.where((image >= 10) & (image <= 20), np.nan, image)
    np.testing.assert_array_equal(seen(stated(dicom(image), *ends), tmp_path / "a"), expected)


def test_every_frame_is_searched(tmp_path: Path) -> None:
    """A frame without padding keeps its integers."""
    frames = np.stack([ramp() + 1, ramp() + 1])
    frames[1, 0, 0] = 65535
    first, second = (seen(stated(dicom(frames), 65535), tmp_path / "a", frame=k) for k in range(2))
    assert first.dtype == np.uint16
    assert np.argwhere(np.isnan(second)).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("bits", "value", "signed"), [(12, 65535, 0), (12, 0xF830, 0), (12, -2000, 1), (14, -32768, 1)]
)
def test_padding_beyond_the_bits_stored_fills_the_cell(
    tmp_path: Path, bits: int, value: int, signed: int
) -> None:
    """And a pixel that is alike in its lower bits is none."""
    dtype = "i2" if signed else "u2"
    image = ramp(dtype=dtype, most=(1 << bits - signed) - 1)
    image[0, 1] = value & (1 << bits - signed) - 1
    cells = image.copy()
    cells[0, 0] = value
    found = seen(stated(dicom(cells, BitsStored=bits, HighBit=bits - 1), value), tmp_path / "a")
    assert np.argwhere(np.isnan(found)).tolist() == [[0, 0]]
    np.testing.assert_array_equal(found.ravel()[1:], image.ravel()[1:])


def test_the_value_s_own_type_does_not_matter(tmp_path: Path) -> None:
    """Writers state -2000 as the unsigned 63536."""
    image = ramp(dtype="i2", most=100)
    image[0, 0] = -2000
    dataset = dicom(image)
    dataset.add_new(0x00280120, "US", 63536)
    assert np.isnan(seen(dataset, tmp_path / "a")[0, 0])


def test_a_modality_table_does_not_see_padding(tmp_path: Path) -> None:
    """It would give it the last entry's quantity."""
    table = item(LUTDescriptor=[3, 10, 16], LUTData=[100, 200, 300], ModalityLUTType="US")
    table[0]["LUTDescriptor"].VR = table[0]["LUTData"].VR = "US"
    stored = stated(dicom(np.array([[10, 12, 9999]], np.uint16), ModalityLUTSequence=table), 9999)
    np.testing.assert_array_equal(seen(stored, tmp_path / "a"), [[100, 300, np.nan]])


@pytest.mark.parametrize(
    ("keyword", "padding", "dtype"),
    [
        ("FloatPixelData", "FloatPixelPadding", "f4"),
        ("DoubleFloatPixelData", "DoubleFloatPixelPadding", "f8"),
    ],
)
def test_real_pixels_have_padding_of_their_own(
    tmp_path: Path, keyword: str, padding: str, dtype: str
) -> None:
    """And it does not move the ends about which MONOCHROME1 is reflected."""
    image = np.linspace(1, 4, 30).reshape(5, 6).astype(dtype)
    expected = 5 - image
    image[0, :2], expected[0, :2] = (-1e30, -2e30), np.nan
    mapped = dicom(image, PhotometricInterpretation="MONOCHROME1")
    del mapped.PixelData, mapped.BitsStored, mapped.HighBit, mapped.PixelRepresentation
    setattr(mapped, keyword, image.tobytes())
    setattr(mapped, f"{padding}Value", float(image[0, 0]))
    setattr(mapped, f"{padding}RangeLimit", float(image[0, 1]))
    image[0, 2], expected[0, 2] = 1, 4  # the least that is left
    setattr(mapped, keyword, image.tobytes())
    np.testing.assert_allclose(seen(mapped, tmp_path / "a"), expected, rtol=1e-6)


def test_colour_has_no_padding(tmp_path: Path) -> None:
    """It is defined for grey images only."""
    image = np.zeros((4, 4, 3), np.uint8)
    image[0] = 200
    assert not np.isnan(seen(stated(dicom(image, samples=3), 0), tmp_path / "a").astype(float)).any()


@pytest.mark.parametrize("value", [b"", b"\1", b"\0\0\0\0"])
def test_a_value_of_another_size_is_none(value: bytes) -> None:
    """Hostile headers hold anything."""
    dataset = Dataset()
    dataset.add_new(0x00280120, "UN", value)
    assert padding_span(dataset, "PixelData", signed=False) is None


@given(st.integers(1, 32), st.booleans(), st.integers(-(2**15), 2**16), st.integers(-(2**15), 2**16))
def test_a_span_for_fewer_bits_lies_within_them(bits: int, signed: bool, one: int, other: int) -> None:
    """Or is empty; a single value is never lost."""
    low, high = storable(bits, signed=signed)
    first, last = fitted((min(one, other), max(one, other)), bits, signed=signed)
    assert (low <= first and last <= high) or first > last
    assert one != other or first == last
    values: tuple[Any, Any] = (first, last)
    assert fitted(values, bits, signed=signed) == values or first > last
