"""Real sources: a prostate study, and the DICOM files of other projects' test suites."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from highdicom.seg import segread
from pydicom import dcmread

from stages.deliver.options import DeliverOptions
from stages.ingest.dicom import open_dicom
from stages.ingest.faults import BadData, reading
from stages.ingest.options import IngestOptions
from stages.places import FileKind, Place

if TYPE_CHECKING:
    from tests.stages.deliver.conftest import Clinic

DATA = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
MOST_FRAMES = 12


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is absent")
@pytest.mark.parametrize("patient", ["Prostate3T-03-0001", "Prostate3T-03-0002"])
def test_a_prostate_study_gets_a_faithful_segmentation(clinic: Clinic, patient: str) -> None:
    """Every slice of a scanner's series reads back as it was segmented, in millimetres and with a picture."""
    paths = (DATA / "prostate3t" / patient).glob("*.dcm")
    found = [(dcmread(path, stop_before_pixels=True), path) for path in paths]
    found.sort(key=lambda pair: pair[0].ImagePositionPatient[2])
    places = [Place(str(path), 0, FileKind.DICOM) for _, path in found]
    headers = [header for header, _ in found]
    masks = clinic.balls(len(places), (headers[0].Rows, headers[0].Columns))
    split = clinic.deliver(clinic.batch(places, masks))
    assert len(split.kept) == len(places)
    seg = segread(clinic.of() / "seg.dcm")
    pixels = seg.get_pixels_by_source_instance(
        [header.SOPInstanceUID for header in headers],
        ignore_spatial_locations=False,
        assert_missing_frames_are_empty=True,
    )
    assert np.array_equal(pixels[..., 0], np.stack(masks))
    assert clinic.measured()["volume_ml"] > 0
    assert (clinic.of() / "overlay.png").stat().st_size > 50_000


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is absent")
@pytest.mark.filterwarnings("ignore")
def test_no_readable_dicom_file_goes_without_a_result(clinic: Clinic) -> None:
    """Hostile headers included: each frame that decodes stands in a mask file, none is lost or raises."""
    segmented = 0
    with clinic.stage(DeliverOptions(modalities=())).open() as work:
        for path in sorted((DATA / "dicom").glob("*/*")):
            places, masks = decodable(path)
            if not places:
                continue
            name = path.name
            split = work(clinic.batch(places, masks, [name] * len(places)))
            assert split.rejected == (), name
            measured = clinic.measured(name)
            assert measured["slices"] == len(places), name
            assert all((clinic.of(name) / mask["file"]).is_file() for mask in measured["masks"]), name
            for mask in measured["masks"]:
                assert (mask["file"] == "seg.dcm") is ("why" not in mask), name
                segmented += mask["file"] == "seg.dcm"
    assert segmented > 75  # the others state no frame of reference or no position


def decodable(path: Path) -> tuple[list[Place], list[np.ndarray]]:
    """The first frames of a file and a mask for each."""
    places: list[Place] = []
    masks: list[np.ndarray] = []
    try:
        with reading(), open_dicom(str(path), IngestOptions()) as source:
            for frame in range(MOST_FRAMES):
                shape = source.frame(frame).image.shape
                places.append(Place(str(path), frame, FileKind.DICOM))
                masks.append(
                    np.pad(
                        np.ones((shape[0] // 2, shape[1] // 3)),
                        [(0, shape[0] - shape[0] // 2), (0, shape[1] - shape[1] // 3)],
                    )
                )
    except BadData:
        pass
    return places, masks
