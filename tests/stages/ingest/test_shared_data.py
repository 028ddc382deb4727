"""The development data: 324 DICOM files of five test suites, and two clinical series."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.pixels import apply_modality_lut
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from stages.base import Reason
from stages.batches import Frame, Located, Refused
from stages.ingest.decode import read_frames
from stages.ingest.faults import Refusal, silence
from stages.ingest.functional import rescale
from stages.ingest.options import IngestOptions
from stages.ingest.rescale import luminance
from stages.ingest.site import Site
from stages.ingest.sources.folder import scan

pytestmark = pytest.mark.data

SITE, OPTIONS = Site(bytes(32)), IngestOptions()
Found = dict[str, list[Frame | Refusal | Refused]]

# Where we differ from the reference stack: only the last delimiter is missing, and all its frames are whole.
SHARPER = "pydicom-data/data__emri_small_jpeg_2k_lossless_too_short.dcm"

# What libjpeg-turbo reads and the reference stack does not: scan parameters that sequential JPEG may not
# have. Beside each stands the same image with right parameters, where the data has it.
SCANS = {
    "dwv/data__nema-mr1_jply.dcm": None,
    "pydicom/test_files__JPEG-lossy.dcm": "pydicom/test_files__JPGExtended.dcm",
    "pylibjpeg-data/JPEGExtended__RG2_JPLY.dcm": "pylibjpeg-data/JPEGExtended__RG2_JPLY_fixed.dcm",
}
LOSSY = {JPEGBaseline8Bit, JPEGExtended12Bit}
JPEG = {*LOSSY, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless}


@pytest.fixture(scope="module")
def found(shared: Path) -> Found:
    """Each file by itself: many are one image in several encodings, so copies or conflicts together."""
    rows: Found = defaultdict(list)
    folders = (shared / "dicom", shared / "prostate3t")
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
        for one in scan([path], SITE, OPTIONS):
            if isinstance(one, Located):
                rows[str(path)].extend(read_frames(one.places, OPTIONS))
            else:
                rows[str(path)].append(one)
    return rows


@pytest.fixture(scope="module")
def manifest(shared: Path) -> list[dict[str, str]]:
    with (shared / "dicom" / "manifest.tsv").open() as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def frames_of(row: dict[str, str]) -> int:
    return int(row["frames"]) if row["frames"].isdigit() else 1


def path_of(shared: Path, row: dict[str, str]) -> str:
    return str((shared / "dicom" / row["path"]).resolve())


def test_every_file_is_accounted_for(shared: Path, found: Found) -> None:
    """None is lost, whatever it holds."""
    files = [path for top in ("dicom", "prostate3t") for path in (shared / top).rglob("*") if path.is_file()]
    assert set(found) == {str(path) for path in files}


def set_aside(mine: list[Frame | Refusal | Refused]) -> bool:
    """Whether the file was found to be no image to segment, whatever its pixels are."""
    return [getattr(one, "reason", None) for one in mine] == [Reason.NOT_TO_SEGMENT]


def test_results_doses_and_maps_are_set_aside(
    shared: Path, manifest: list[dict[str, str]], found: Found
) -> None:
    """Though they have pixels; all others are images still."""
    aside = {
        row["path"].split("__")[1].split(".")[0].split("_")[0]
        for row in manifest
        if row["reference_decode"] != "nopix" and set_aside(found[path_of(shared, row)])
    }
    assert aside == {"bbmri", "rtdose", "badVR", "liver", "parametric"}


def test_all_that_the_reference_decodes_is_decoded(
    shared: Path, found: Found, manifest: list[dict[str, str]]
) -> None:
    """Every frame of it, where it is an image to segment."""
    for row in manifest:
        mine = found[path_of(shared, row)]
        if row["reference_decode"] == "ok" and not set_aside(mine):
            assert len(mine) == frames_of(row), row["path"]
            assert all(isinstance(one, Frame) for one in mine), row["path"]


def test_what_has_no_pixels_is_refused_as_such(
    shared: Path, found: Found, manifest: list[dict[str, str]]
) -> None:
    """Once a file, with the exception that is explained above."""
    for row in manifest:
        if row["reference_decode"] == "nopix" and row["path"] != SHARPER:
            (mine,) = found[path_of(shared, row)]
            assert isinstance(mine, Refused), row["path"]
            assert mine.reason in (Reason.NO_PIXELS, Reason.NOT_TO_SEGMENT), row["path"]


def test_the_exception_is_what_it_is_said_to_be(shared: Path, found: Found) -> None:
    """The short enhanced MR has ten whole frames."""
    enhanced = found[str((shared / "dicom" / SHARPER).resolve())]
    assert sum(isinstance(one, Frame) for one in enhanced) == len(enhanced) == 10


def test_what_the_reference_cannot_decode_is_refused(
    shared: Path, found: Found, manifest: list[dict[str, str]]
) -> None:
    """Nobody decodes it; here it has a reason each."""
    allowed = {Reason.CORRUPT, Reason.UNSUPPORTED, Reason.TRUNCATED}
    for row in manifest:
        if row["reference_decode"].startswith("ERR") and row["path"] not in SCANS:
            mine = found[path_of(shared, row)]
            if set_aside(mine):
                continue
            assert {one.reason for one in mine if not isinstance(one, Frame)} <= allowed, row["path"]
            assert not any(isinstance(one, Frame) for one in mine), row["path"]


@pytest.mark.parametrize("name", SCANS)
def test_forbidden_scan_parameters_change_no_pixel(shared: Path, found: Found, name: str) -> None:
    """The image is that of the file in which they were mended."""
    (mine,) = found[str(shared / "dicom" / name)]
    (theirs,) = found[str(shared / "dicom" / (SCANS[name] or name))]
    assert isinstance(mine, Frame)
    assert isinstance(theirs, Frame)
    np.testing.assert_array_equal(mine.image, theirs.image)


def test_twelve_bits_of_lossy_jpeg_are_near_the_original(shared: Path, found: Found) -> None:
    """One part in a hundred of the range; pydicom decodes them only with the GPL extra."""
    names = "JPEGExtended__RG2_JPLY_fixed.dcm", "JPEGLosslessSV1__RG2_JPLL.dcm"
    (lossy,), (lossless,) = (found[str(shared / "dicom" / "pylibjpeg-data" / name)] for name in names)
    assert isinstance(lossy, Frame)
    assert isinstance(lossless, Frame)
    assert np.abs(lossy.image.astype(int) - lossless.image).mean() < 0.01 * np.ptp(lossless.image)


def test_pixels_are_those_of_libjpeg(shared: Path, found: Found, manifest: list[dict[str, str]]) -> None:
    """Of each JPEG process, where the GPL extra is there: equal if lossless, else within two grey values."""
    pytest.importorskip("libjpeg", reason="the extra gpl-jpeg is not installed")
    silence()
    compared = Counter[str]()
    for row in manifest:
        syntax = row["transfer_syntax"]
        if row["reference_decode"] != "ok" or syntax not in JPEG or row["photometric"] == "MONOCHROME1":
            continue
        if set_aside(found[path_of(shared, row)]):
            continue
        dataset = dcmread(path_of(shared, row), force=True)
        theirs, _ = get_decoder(syntax).as_array(dataset, index=0, decoding_plugin="pylibjpeg")
        mine = found[path_of(shared, row)][0]
        assert isinstance(mine, Frame)
        grey = luminance(theirs) if theirs.ndim == 3 else theirs
        slope, intercept = rescale(dataset, 0) or (1.0, 0.0)
        most = 2 if syntax in LOSSY else 0
        theirs_HW = grey.astype(float) * slope + intercept
        np.testing.assert_allclose(mine.image, theirs_HW, rtol=1e-6, atol=most, err_msg=row["path"])
        compared[syntax] += 1
    assert set(compared) == JPEG


def test_values_are_those_of_pydicom(shared: Path, found: Found, manifest: list[dict[str, str]]) -> None:
    """MONOCHROME2: what pydicom's dataset gives, through its own modality transformation, but for padding."""
    silence()
    compared = 0
    for row in manifest:
        mine = found[path_of(shared, row)]
        if row["reference_decode"] != "ok" or row["photometric"] != "MONOCHROME2" or len(mine) != 1:
            continue
        if set_aside(mine):
            continue
        if row["transfer_syntax"] == JPEGExtended12Bit and row["bits_stored"] != "8":
            continue  # see above: pydicom alone has no decoder for it
        (frame,) = mine
        assert isinstance(frame, Frame)
        dataset = dcmread(path_of(shared, row))
        if not dataset.get("ModalityLUTSequence"):  # three of them are empty, and pydicom fails on those
            theirs = apply_modality_lut(dataset.pixel_array, dataset).astype(float)
            theirs[np.isnan(frame.image)] = np.nan  # padding, which pydicom leaves in
            np.testing.assert_allclose(frame.image, theirs, rtol=1e-5, atol=1e-3, err_msg=row["path"])
            compared += 1
    assert compared > 100


def test_clinical_series_are_whole_and_in_order(shared: Path) -> None:
    """Two prostates: one batch each would do, so no series is cut, and depth grows evenly."""
    made = [one for one in scan([shared / "prostate3t"], SITE, OPTIONS) if isinstance(one, Located)]
    assert all(one.group is None for one in made)
    assert sum(map(len, made)) == 40
    assert len({pseudonym for one in made for pseudonym in one.series}) == 2
    frames = [frame for one in made for frame in read_frames(one.places, OPTIONS)]
    assert all(isinstance(frame, Frame) and frame.spacing_mm for frame in frames)


def test_labelled_volumes_are_cut_along_their_slices(shared: Path) -> None:
    """PROMISE12: the third axis, with the spacing that its table states."""
    path = min((shared / "promise12" / "val").glob("Case??.nii.gz"))
    (made,) = [one for one in scan([path], SITE, OPTIONS) if isinstance(one, Located)]
    image = nibabel.load(path)
    voxels = np.asanyarray(image.dataobj)
    assert len(made) == voxels.shape[2]
    for k, frame in enumerate(read_frames(made.places, OPTIONS)):
        assert isinstance(frame, Frame)
        np.testing.assert_array_equal(frame.image, voxels[:, :, k])
        assert frame.spacing_mm == pytest.approx(image.header.get_zooms()[:2], rel=1e-4)
