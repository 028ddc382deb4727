"""What is no image to segment, by class, marks and name; and which refusals fail a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom.uid
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.uid import UID

from stages.base import Reason
from stages.batches import Located, Refused
from stages.ingest.options import IngestOptions
from stages.ingest.purpose import Declared, counts_against_the_run, why_beside, why_no_source
from stages.ingest.site import Site
from stages.ingest.sources.folder import scan
from tests.stages.ingest.maker import dicom, ramp, save

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
IMAGES = [
    *("MRImageStorage", "EnhancedMRImageStorage", "LegacyConvertedEnhancedMRImageStorage", "CTImageStorage"),
    *("SecondaryCaptureImageStorage", "UltrasoundImageStorage", "EnhancedUSVolumeStorage", "RTImageStorage"),
    *("PositronEmissionTomographyImageStorage", "XRayAngiographicImageStorage", "VLPhotographicImageStorage"),
]
OTHERS = [
    *("SegmentationStorage", "SurfaceSegmentationStorage", "RTDoseStorage", "RTStructureSetStorage"),
    *("RTPlanStorage", "ParametricMapStorage", "GrayscaleSoftcopyPresentationStateStorage"),
    *("RealWorldValueMappingStorage", "KeyObjectSelectionDocumentStorage", "ComprehensiveSRStorage"),
    *("XRayRadiationDoseSRStorage", "EncapsulatedPDFStorage", "EncapsulatedSTLStorage", "RawDataStorage"),
    *("SpatialFiducialsStorage", "SpatialRegistrationStorage", "TwelveLeadECGWaveformStorage"),
    *("MRSpectroscopyStorage", "MediaStorageDirectoryStorage", "TractographyResultsStorage"),
]


def found(path: Path) -> Located | Refused:
    (one,) = scan([path], Site(bytes(32)), IngestOptions())
    return one


@pytest.mark.parametrize("name", IMAGES)
def test_classes_of_images_are_read(name: str) -> None:
    """Whatever they show: what is out of scope is another question."""
    assert why_no_source(Declared(getattr(pydicom.uid, name))) == ""


def test_a_mosaic_is_no_slice(tmp_path: Path) -> None:
    """Its tiles are slices of other places than the one that its header states."""
    path = save(dicom(ramp(), ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]), tmp_path / "a.dcm")
    one = found(path)
    assert isinstance(one, Refused)
    assert (one.reason, "mosaic" in one.detail) == (Reason.UNSUPPORTED, True)


@pytest.mark.parametrize("name", OTHERS)
def test_other_classes_are_no_images_by_their_registered_name(name: str) -> None:
    """With pixels or without."""
    assert "no image to segment" in why_no_source(Declared(getattr(pydicom.uid, name)))
    assert why_no_source(Declared(getattr(pydicom.uid, name), pixels=False))


@pytest.mark.parametrize(
    ("uid", "pixels", "source"),
    [
        ("1.2.840.10008.5.1.4.1.1.66.7", True, False),  # label map segmentation, younger than the dictionary
        ("1.2.840.10008.5.1.4.1.1.88.999", False, False),
        ("1.2.840.10008.5.1.4.1.1.999.9", True, True),
        ("1.3.12.2.1107.5.9.1", False, False),  # CSA non-image
        ("1.3.12.2.1107.5.9.1", True, True),
        ("", True, True),
        ("", False, True),
        ("no UID", True, True),
    ],
)
def test_classes_that_nobody_registered(uid: str, pixels: bool, source: bool) -> None:
    """By their family in PS3.6; a private one is an image where it has pixels."""
    assert (why_no_source(Declared(uid, pixels=pixels)) == "") is source


@pytest.mark.parametrize(
    ("stated", "source"),
    [
        (Declared(CAPTURE, "DERIVED\\SECONDARY", "MR", "A scanner's", "WSD"), True),
        (Declared(CAPTURE, "DERIVED\\SECONDARY", "OT", conversion="DF"), True),  # a digitised film
        (Declared(CAPTURE, "DERIVED\\SECONDARY", "OT", conversion="SI"), True),
        (Declared(CAPTURE, "DERIVED\\SECONDARY", "OT", conversion="SD"), False),
        (Declared(CAPTURE, "DERIVED\\SECONDARY\\SCREEN SAVE", "CT"), False),
        (Declared(CAPTURE, "ORIGINAL\\SECONDARY\\OTHER\\CT_SOM5 PROT", "CT"), False),
        (Declared(CAPTURE, "DERIVED\\SECONDARY\\DOSE_INFO", "CT"), False),
        (Declared(CAPTURE + ".4", "DERIVED\\SECONDARY\\RESULT", "MR"), False),
        (Declared(CAPTURE, "DERIVED\\SECONDARY\\PROTEIN", "MR"), True),
        (Declared(CAPTURE, modality="SR"), False),
        (Declared(CAPTURE, modality="MR", manufacturer="MedSecure-U"), False),
        (Declared(pydicom.uid.MRImageStorage, "DERIVED\\SECONDARY\\RESULT", "MR"), True),
        (Declared(pydicom.uid.MRImageStorage, "DERIVED\\PRIMARY\\DIFFUSION\\ADC", "MR"), True),
        (Declared(pydicom.uid.MRImageStorage, modality="SEG"), False),
        (Declared(pydicom.uid.MRImageStorage, "DERIVED\\SECONDARY", manufacturer="MedSecure-U"), False),
        (
            Declared(pydicom.uid.MRImageStorage, "DERIVED\\SECONDARY", manufacturer="MedSecure-U synthetic"),
            True,
        ),
    ],
)
def test_captures_are_images_unless_they_say_what_else_they_are(stated: Declared, source: bool) -> None:
    """A scanned film is read; a screen, a dose report, a document and our own overlay are not."""
    assert (why_no_source(stated) == "") is source


@pytest.mark.parametrize(
    "attributes",
    [
        {"SOPClassUID": pydicom.uid.RTDoseStorage},
        {"Manufacturer": "MedSecure-U"},
        {"Modality": "SEG"},
    ],
)
def test_an_object_with_sound_pixels_is_set_aside(tmp_path: Path, attributes: dict[str, str]) -> None:
    """Once, with the reason that fails no run."""
    one = found(save(dicom(ramp(), **attributes), tmp_path / "a"))
    assert isinstance(one, Refused)
    assert one.reason is Reason.NOT_TO_SEGMENT
    assert isinstance(found(save(dicom(ramp()), tmp_path / "b")), Located)


def test_every_registered_class_of_images_has_the_word_in_its_name() -> None:
    """What the rule rests on, in the dictionary that is installed."""
    for name in IMAGES:
        uid = UID(getattr(pydicom.uid, name))
        assert "Image" in uid.name or name == "EnhancedUSVolumeStorage"


@pytest.mark.parametrize("maker", ["MedSecure-U 0.1.0", "GIMP 3.0", ""])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_pictures_of_our_own_are_known_by_their_software(tmp_path: Path, kind: str, maker: str) -> None:
    """Masks and overlays in a source are results of an earlier run."""
    text = PngInfo()
    text.add_text("Comment", "MedSecure-U 0.1.0")
    if maker:
        text.add_text("Software", maker)
    how = {"pnginfo": text} if kind == "PNG" else {"tiffinfo": {305: maker} if maker else {}}
    Image.fromarray(ramp(dtype="u1", most=255)).save(tmp_path / "a", kind, **how)
    one = found(tmp_path / "a")
    if maker.startswith("MedSecure-U"):
        assert isinstance(one, Refused)
        assert one.reason is Reason.NOT_TO_SEGMENT
    else:
        assert isinstance(one, Located)


@pytest.mark.parametrize(
    "name",
    [
        *("case_segmentation.nii.gz", "case_mask.nii", "case-label.nrrd", "case_seg.mha", "case.seg.nrrd"),
        *("case_labels.nii.gz", "CASE_Mask.NII.GZ", "case_mask_2.nii.gz"),
    ],
)
@pytest.mark.parametrize("beside", ["case.nii.gz", "case.nii", "case.mha", "case.nrrd"])
def test_a_mask_beside_its_volume_is_none(tmp_path: Path, name: str, beside: str) -> None:
    """Alone it is a volume like any other: only the neighbour says what it is."""
    (tmp_path / name).write_bytes(b"a")
    assert why_beside(tmp_path / name) == ""
    (tmp_path / beside.replace("case", name[:4])).write_bytes(b"a")
    assert "mask of a volume beside it" in why_beside(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["case.nii.gz", "case_t2.nii.gz", "mask.nii.gz", "case_mask.png", "case_unmask.nii"]
)
def test_other_names_are_no_masks(tmp_path: Path, name: str) -> None:
    """Nor is the volume itself."""
    for one in ("case.nii.gz", ".nii", name):
        (tmp_path / one).write_bytes(b"a")
    assert why_beside(tmp_path / name) == ""


@pytest.mark.parametrize(
    ("name", "header"), [("a.raw", "a.mhd"), ("a.zraw", "a.mhd"), ("a.raw.gz", "a.nhdr")]
)
def test_voxels_beside_their_header_are_no_image_of_their_own(tmp_path: Path, name: str, header: str) -> None:
    """They are read with it."""
    (tmp_path / name).write_bytes(np.arange(9).tobytes())
    assert why_beside(tmp_path / name) == ""
    (tmp_path / header).write_bytes(b"a")
    assert "voxels of a header" in why_beside(tmp_path / name)


@pytest.mark.parametrize(
    ("reason", "name", "counts"),
    [
        *(
            (Reason.NOT_AN_IMAGE, name, True)
            for name in ("a.dcm", "A.NII.GZ", "b.png", "c.tiff", "d.mha", "e.zip")
        ),
        *((Reason.NOT_AN_IMAGE, name, True) for name in ("IM000001", "1.2.840.113619.2", "I1")),
        *(
            (Reason.NOT_AN_IMAGE, name, False)
            for name in ("README", "README.txt", "Thumbs.db", "AUTORUN.INF")
        ),
        *(
            (Reason.NOT_AN_IMAGE, name, False)
            for name in ("viewer.exe", "index.html", "a.pdf", ".DS_Store", "x2.dll")
        ),
        (Reason.EMPTY, ".gitkeep", False),
        (Reason.EMPTY, "a.dcm", True),
        (Reason.NOT_TO_SEGMENT, "a.dcm", False),
        *((reason, "README", True) for reason in (Reason.UNREADABLE, Reason.TRUNCATED, Reason.CORRUPT)),
        *((reason, "a.dcm", True) for reason in (Reason.NO_PIXELS, Reason.ENCRYPTED, Reason.UNSUPPORTED)),
    ],
)
def test_what_never_was_an_image_fails_no_run(reason: Reason, name: str, counts: bool) -> None:
    """By what its name claims; anything that stands where an image should does."""
    assert counts_against_the_run(reason, f"/cd/{name}") is counts
