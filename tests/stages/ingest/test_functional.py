from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.sequence import Sequence

from stages.batches import FileKind, Frame, Place
from stages.grid import Display
from stages.ingest.decode import read_frames
from stages.ingest.options import IngestOptions
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
    ids=["plain", "imager", "plain first", "zero", "none", "shared", "frame first"],
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
