from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.sequence import Sequence

from stages.batches import Frame
from stages.grid import Display
from stages.ingest.decode import read_frames
from stages.ingest.functional import position, spacing_fault, spacing_mm
from stages.ingest.options import IngestOptions
from stages.places import FileKind, Place
from tests.stages.ingest.maker import dicom, item, ramp, save


def read(path: Path, frame: int = 0) -> Frame:
    (found,) = read_frames([Place(str(path), frame, FileKind.DICOM)], IngestOptions())
    assert isinstance(found, Frame), found
    return found


def test_frames_have_their_own_rescale(tmp_path: Path) -> None:
    """PET: the slope differs between frames, in the functional groups."""
    frames = np.full((2, 4, 4), 10, np.uint16)
    groups = [item(PixelValueTransformationSequence=item(RescaleSlope=s, RescaleIntercept=1)) for s in (2, 3)]
    stored = dicom(frames, PerFrameFunctionalGroupsSequence=Sequence([one[0] for one in groups]))
    path = save(stored, tmp_path / "a")
    assert (read(path, 0).image == 21).all()
    assert (read(path, 1).image == 31).all()


@pytest.mark.parametrize(
    ("attributes", "spacing"),
    [
        ({"PixelSpacing": [0.5, 0.75]}, (0.5, 0.75)),
        ({"ImagerPixelSpacing": [0.2, 0.3]}, (0.2, 0.3)),
        ({"PixelSpacing": [0.5, 0.75], "ImagerPixelSpacing": [1, 1]}, (0.5, 0.75)),
        ({"PixelSpacing": [0, 0]}, None),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.2, 0.3]}, (0.2, 0.3)),
        ({"PixelSpacing": 0.5}, (0.5, 0.5)),
        ({}, None),
        (
            {"SharedFunctionalGroupsSequence": item(PixelMeasuresSequence=item(PixelSpacing=[0.4, 0.6]))},
            (0.4, 0.6),
        ),
        (
            {
                "SharedFunctionalGroupsSequence": item(PixelMeasuresSequence=item(PixelSpacing=[9, 9])),
                "PerFrameFunctionalGroupsSequence": item(PixelMeasuresSequence=item(PixelSpacing=[1, 2])),
            },
            (1.0, 2.0),
        ),
    ],
    ids=["plain", "imager", "plain first", "zero", "zero and imager", "one", "none", "shared", "frame first"],
)
def test_spacing_is_found_where_the_object_keeps_it(
    tmp_path: Path, attributes: dict[str, object], spacing: tuple[float, float] | None
) -> None:
    """The frame's own, the shared one, the object's, the detector's; or unknown."""
    found = read(save(dicom(ramp(), **attributes), tmp_path / "a")).spacing_mm
    assert found == pytest.approx(spacing) if spacing else found is None


@pytest.mark.parametrize(
    ("cosines", "display"),
    [
        ([1, 0, 0, 0, 1, 0], Display()),
        ([-1, 0, 0, 0, -1, 0], Display(flip_rows=True, flip_columns=True)),
        ([0, 1, 0, 1, 0, 0], Display(transpose=True)),
        ([1, 0, 0, 0, 0, -1], Display()),  # coronal
        (None, Display()),
    ],
)
def test_orientation_becomes_the_way_to_the_standard_view(
    tmp_path: Path, cosines: list[float] | None, display: Display
) -> None:
    """From Image Orientation (Patient): cosines of the row, then of the column."""
    attributes = {"ImageOrientationPatient": cosines} if cosines else {}
    assert read(save(dicom(ramp(), **attributes), tmp_path / "a")).display == display


def test_orientation_is_found_in_the_functional_groups(tmp_path: Path) -> None:
    """Enhanced objects keep it there."""
    groups = item(PlaneOrientationSequence=item(ImageOrientationPatient=[0, 1, 0, 1, 0, 0]))
    stored = dicom(ramp(), SharedFunctionalGroupsSequence=groups)
    assert read(save(stored, tmp_path / "a")).display == Display(transpose=True)


def raw_spacing(path: Path, written: bytes) -> Path:
    """An object whose Pixel Spacing holds these very bytes."""
    path = save(dicom(ramp(), PixelSpacing=["7" * 16, "8" * 15]), path)
    held = path.read_bytes()
    assert held.count(b"7" * 16 + b"\\" + b"8" * 15) == 1
    path.write_bytes(held.replace(b"7" * 16 + b"\\" + b"8" * 15, written.ljust(32)))
    return path


@pytest.mark.parametrize(
    ("written", "spacing"),
    [
        (b"1,1\\1,1", (1.1, 1.1)),
        (b"1,1\\1.2", (1.1, 1.2)),
        (b"1,1", (1.1, 1.1)),
        (b" 1.1 \\ 1.2 ", (1.1, 1.2)),
        (b"1.1e0\\+12E-1", (1.1, 1.2)),
        (b".5\\5.", (0.5, 5.0)),
        (b"1.1\\1.2\0\0", (1.1, 1.2)),
        (b"1_1\\1_2", None),
        (b"1.234,5\\1.234,5", None),
        (b"0.5,0.5", None),
        (b"0.5mm\\0.5mm", None),
        (b"nan\\inf", None),
        (b"1\\2\\3", None),
        (b"\\", None),
        (b"-1\\1", None),
        (b"0\\0", None),
        (b"1e9\\1e9", None),
        (b"1e999\\1", None),
    ],
)
def test_decimal_strings_are_read_as_writers_leave_them(
    tmp_path: Path, written: bytes, spacing: tuple[float, float] | None
) -> None:
    """A comma for the point, one value, spaces, exponents; what is no number is unknown and told so."""
    path = raw_spacing(tmp_path / "a", written)
    found = read(path).spacing_mm
    assert found == pytest.approx(spacing) if spacing else found is None
    header = dcmread(path)
    assert (spacing_fault(header, 0) == "") is (spacing is not None)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({}, "states no pixel spacing"),
        ({"PixelSpacing": [0, 0]}, "0 by 0 mm, zero"),
        ({"PixelSpacing": [-1, 1]}, "negative"),
        ({"PixelSpacing": [1e6, 1]}, "beyond any medical image"),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [-1, 1]}, "zero"),
        ({"ImagerPixelSpacing": [0, 1]}, "Imager Pixel Spacing"),
    ],
)
def test_an_unknown_spacing_has_a_reason(attributes: dict[str, object], words: str) -> None:
    """That of the place which is looked at first."""
    assert words in spacing_fault(dicom(ramp(), **attributes), 0)


def test_values_that_somebody_looked_at_are_read_all_the_same(tmp_path: Path) -> None:
    """By then pydicom has replaced an element's bytes by types of its own."""
    header = dcmread(
        save(dicom(ramp(), PixelSpacing=[0.5, 0.75], ImagePositionPatient=[1, 2, 3]), tmp_path / "a")
    )
    assert spacing_mm(header, 0) == (0.5, 0.75)
    assert (header.PixelSpacing, header.ImagePositionPatient) == ([0.5, 0.75], [1, 2, 3])
    assert spacing_mm(header, 0) == (0.5, 0.75)
    assert position(header, 0) == (1, 2, 3)


def test_a_position_is_found_in_the_functional_groups_and_with_a_comma(tmp_path: Path) -> None:
    """As spacing is."""
    groups = item(PlanePositionSequence=item(ImagePositionPatient=[1, 2, 3]))
    assert position(dicom(ramp(), PerFrameFunctionalGroupsSequence=groups), 0) == (1, 2, 3)
    path = save(dicom(ramp(), ImagePositionPatient=[1.5, 2.5, 3.5]), tmp_path / "a")
    path.write_bytes(path.read_bytes().replace(b"1.5\\2.5\\3.5", b"1,5\\2,5\\3,5"))
    assert position(dcmread(path), 0) == (1.5, 2.5, 3.5)
