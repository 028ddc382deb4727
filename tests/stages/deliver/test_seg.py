"""DICOM Segmentations, read back with highdicom: the masks bit for bit on the source grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from highdicom.seg import Segmentation, segread
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedMRImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from stages.places import FileKind, Place, StackId

if TYPE_CHECKING:
    from tests.stages.deliver.conftest import Clinic

CYRILLIC = "\u0418\u0432\u0430\u043d"


def read_back(seg: Segmentation, places: list[Place]) -> np.ndarray:
    """The masks of single-frame instances, in the order of their places."""
    uids = [dcmread(place.path, stop_before_pixels=True).SOPInstanceUID for place in places]
    pixels = seg.get_pixels_by_source_instance(
        uids, ignore_spatial_locations=False, assert_missing_frames_are_empty=True
    )
    return pixels[..., 0]


def test_masks_come_back_bit_for_bit(clinic: Clinic) -> None:
    """Every slice of the series, also the empty ones, reads as it was segmented."""
    places, masks = clinic.dicom(11), clinic.balls(11)
    clinic.deliver(clinic.batch(places, masks))
    seg = segread(clinic.of() / "seg.dcm")
    assert np.array_equal(read_back(seg, places), np.stack(masks))
    assert seg.NumberOfFrames == sum(mask_HW.any() for mask_HW in masks) < 11


def test_it_says_what_it_is_and_where_it_comes_from(clinic: Clinic) -> None:
    """Codes, product, patient, study and references are those of the standard and of the source."""
    places = clinic.dicom(7)
    clinic.deliver(clinic.batch(places, clinic.balls(7)))
    seg, source = segread(clinic.of() / "seg.dcm"), dcmread(places[0].path)
    description = seg.get_segment_description(1)
    assert description.segment_label == "Prostate"
    assert (
        description.segmented_property_type.value,
        description.segmented_property_type.scheme_designator,
    ) == (
        "41216001",
        "SCT",
    )
    assert description.algorithm_identification.name == "MedSecure-U"
    assert seg.SegmentationType == "BINARY"
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[keyword].value == source[keyword].value, keyword
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    referenced = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
    assert referenced == {dcmread(place.path).SOPInstanceUID for place in places}


def test_the_same_result_is_the_same_object(clinic: Clinic) -> None:
    """UIDs follow from source and mask: delivered again they stay, with another mask they change."""
    places, masks = clinic.dicom(3), clinic.balls(3)
    uids = []
    for pixels in (masks, masks, [1 - mask_HW for mask_HW in masks]):
        clinic.deliver(clinic.batch(places, pixels))
        uids.append(segread(clinic.of() / "seg.dcm").SOPInstanceUID)
    assert uids[0] == uids[1] != uids[2]


def test_nothing_found_is_one_empty_frame(clinic: Clinic) -> None:
    """A series without prostate still gets its object, of one empty frame."""
    places = clinic.dicom(5)
    clinic.deliver(clinic.batch(places, [np.zeros((48, 40))] * 5))
    seg = segread(clinic.of() / "seg.dcm")
    assert seg.NumberOfFrames == 1
    assert not seg.pixel_array.any()
    assert clinic.measured()["gland_slices"] == 0


def test_missing_and_malformed_patient_attributes_do_not_stop_it(clinic: Clinic) -> None:
    """Anonymised and sloppy headers are completed with empty values, never with invented ones."""

    def spoil(instance: Dataset, _: int) -> None:
        for keyword in ("PatientID", "PatientName", "AccessionNumber", "StudyID"):
            delattr(instance, keyword)
        instance.PatientSex = "X"
        instance.add_new("StudyTime", "LO", "12:30:00")
        instance.add_new("StudyDate", "LO", "1995.05.01")

    clinic.deliver(clinic.batch(clinic.dicom(4, spoil), clinic.balls(4)))
    seg = segread(clinic.of() / "seg.dcm")
    assert seg.PatientID in {"", None}
    assert seg.PatientSex in {"", None}
    assert (str(seg.StudyDate), str(seg.StudyTime)) == ("19950501", "123000")
    assert (str(seg.ContentDate), str(seg.ContentTime)) == ("19950501", "123000")
    assert clinic.measured()["volume_ml"] > 0


def test_names_in_other_alphabets_survive(clinic: Clinic) -> None:
    """The source's character set is decoded and the object written in UTF-8."""

    def rename(instance: Dataset, _: int) -> None:
        instance.SpecificCharacterSet = "ISO_IR 144"
        instance.PatientName = CYRILLIC

    clinic.deliver(clinic.batch(clinic.dicom(3, rename), clinic.balls(3)))
    assert str(dcmread(clinic.of() / "seg.dcm").PatientName) == CYRILLIC


def test_each_stack_gets_an_object_of_its_own(clinic: Clinic) -> None:
    """Two echoes and a sagittal scout in one series: three objects of one series, no slice lost."""

    def arrange(instance: Dataset, i: int) -> None:
        if i < 8:
            instance.ImagePositionPatient = [-10, -12, 3.0 * (i % 5)]
        else:
            instance.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]

    places, masks = clinic.dicom(9, arrange), clinic.balls(9)
    masks[0] = masks[1] = masks[8] = masks[4]
    stacks = [StackId(1, 3, 5)] * 5 + [StackId(2, 3, 3)] * 3 + [StackId(3, 3, 1)]
    split = clinic.deliver(clinic.batch(places, masks, stacks=stacks))
    measured = clinic.measured()
    assert [(mask["file"], mask["stack"], len(mask["slices"])) for mask in measured["masks"]] == [
        ("stack-1/seg.dcm", 1, 5),
        ("stack-2/seg.dcm", 2, 3),
        ("stack-3/seg.dcm", 3, 1),
    ]
    segs = [segread(clinic.of() / mask["file"]) for mask in measured["masks"]]
    for seg, rows in zip(segs, (range(5), range(5, 8), range(8, 9)), strict=True):
        assert np.array_equal(read_back(seg, [places[i] for i in rows]), np.stack([masks[i] for i in rows]))
    assert len({seg.SeriesInstanceUID for seg in segs}) == 1
    assert [seg.InstanceNumber for seg in segs] == [1, 2, 3]
    assert measured["volume_ml"] is None
    assert f"{clinic.of().name}/stack-2/seg.dcm" in split.kept.paths


def test_the_volume_of_a_series_is_that_of_its_only_stack_with_a_prostate(clinic: Clinic) -> None:
    """A scout without any does not hide it."""
    places, masks = clinic.dicom(8), [*clinic.balls(6), *[np.zeros((48, 40))] * 2]
    stacks = [StackId(1, 2, 6)] * 6 + [StackId(2, 2, 2)] * 2
    clinic.deliver(clinic.batch(places, masks, stacks=stacks))
    measured = clinic.measured()
    assert measured["volume_ml"] == measured["masks"][0]["volume_ml"] > 0
    assert measured["masks"][1]["volume_ml"] == 0


def multi_frame(clinic: Clinic, count: int, *, shared: bool) -> list[Place]:
    """An enhanced MR object, its geometry in the shared group or repeated in every frame."""
    instance = dcmread(clinic.dicom(1)[0].path)
    instance.SOPClassUID = instance.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = instance.PixelSpacing, 3
    orientation.ImageOrientationPatient = instance.ImageOrientationPatient
    common = {"PixelMeasuresSequence": [measures], "PlaneOrientationSequence": [orientation]}
    for keyword in ("PixelSpacing", "SliceThickness", "ImageOrientationPatient", "ImagePositionPatient"):
        delattr(instance, keyword)
    frames = []
    for i in range(count):
        position = Dataset()
        position.ImagePositionPatient = [-10, -12, 3.0 * (count - i)]
        frames.append(group({"PlanePositionSequence": [position]} | ({} if shared else common)))
    instance.SharedFunctionalGroupsSequence = Sequence([group(common if shared else {})])
    instance.PerFrameFunctionalGroupsSequence = Sequence(frames)
    instance.NumberOfFrames = count
    instance.PixelData = instance.PixelData * count
    path = clinic.folder / "enhanced.dcm"
    instance.save_as(path)
    return [Place(str(path), frame, FileKind.DICOM) for frame in range(count)]


def group(values: dict[str, Any]) -> Dataset:
    """An item of a functional groups sequence."""
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, Sequence(value))
    return item


@pytest.mark.parametrize("shared", [True, False])
def test_an_enhanced_multi_frame_object_is_referenced_frame_by_frame(clinic: Clinic, *, shared: bool) -> None:
    """Each mask belongs to its frame, wherever the geometry stands; a rejected frame stays empty."""
    places, masks = multi_frame(clinic, 6, shared=shared), clinic.balls(6)
    kept = [0, 1, 2, 4, 5]
    clinic.deliver(clinic.batch([places[i] for i in kept], [masks[i] for i in kept]))
    seg = segread(clinic.of() / "seg.dcm")
    uid = dcmread(places[0].path, stop_before_pixels=True).SOPInstanceUID
    pixels = seg.get_pixels_by_source_frame(
        uid, range(1, 7), ignore_spatial_locations=False, assert_missing_frames_are_empty=True
    )
    masks[3] = np.zeros_like(masks[3])
    assert np.array_equal(pixels[..., 0], np.stack(masks))
    assert clinic.measured()["masks"][0]["slice_distance_mm"] == 3


def without_geometry(instance: Dataset, _: int) -> None:
    """A photograph: secondary capture."""
    instance.SOPClassUID = instance.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    for keyword in ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(instance, keyword)


def test_images_without_geometry_get_a_mask_tiff_and_the_reason(clinic: Clinic) -> None:
    """Viewers turn black over a DICOM Segmentation without geometry: none is made; the picture stays."""
    places, masks = clinic.dicom(2, without_geometry), [np.eye(48, 40)] * 2
    clinic.deliver(clinic.batch(places, masks, known=False))
    assert {path.name for path in clinic.of().iterdir()} == {"mask.tif", "overlay.png", "measurements.json"}
    measured = clinic.measured()
    assert (measured["spacing_known"], measured["volume_ml"], measured["review"]) == (False, None, True)
    assert measured["masks"][0]["why"] == "The source states no frame of reference."


def unpositioned(instance: Dataset, _: int) -> None:
    del instance.ImagePositionPatient


def unoriented(instance: Dataset, _: int) -> None:
    del instance.ImageOrientationPatient


def skewed(instance: Dataset, _: int) -> None:
    instance.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]


def unspaced(instance: Dataset, _: int) -> None:
    instance.PixelSpacing = [0, 0]


def repeated(instance: Dataset, _: int) -> None:
    instance.ImagePositionPatient = [-10, -12, 30]


def fanned(instance: Dataset, i: int) -> None:
    angle = np.radians(20 * i)
    instance.ImageOrientationPatient = [1, 0, 0, 0, float(np.cos(angle)), float(np.sin(angle))]


def elsewhere(instance: Dataset, i: int) -> None:
    instance.FrameOfReferenceUID = f"1.2.{i + 1}"


def respaced(instance: Dataset, i: int) -> None:
    instance.PixelSpacing = [0.5 + 0.1 * i, 0.5]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (unpositioned, "The source states no positions."),
        (unoriented, "The source states no sound orientation of its slices."),
        (skewed, "The source states no sound orientation of its slices."),
        (unspaced, "The Pixel Spacing of the source is 0 by 0 mm, zero."),
        (repeated, "Several slices have one position."),
        (fanned, "The slices are not parallel."),
        (elsewhere, "The slices are in several frames of reference."),
        (respaced, "The slices have several pixel spacings."),
    ],
)
def test_each_lack_of_geometry_is_named(
    clinic: Clinic, spoil: Callable[[Dataset, int], None], why: str
) -> None:
    """No SEG, no invented value: the mask as an image, its reason, and the flag."""
    clinic.deliver(clinic.batch(clinic.dicom(4, spoil), clinic.balls(4)))
    (mask,) = clinic.measured()["masks"]
    assert (mask["file"], mask["why"]) == ("mask.tif", why)
    assert [(one["flag"], one["text"]) for one in mask["flags"] if one["flag"] == "no_geometry"] == [
        ("no_geometry", why)
    ]


def test_cosines_that_differ_by_noise_are_one_orientation(clinic: Clinic) -> None:
    """One part in a million is how scanners print numbers, not another direction."""

    def jitter(instance: Dataset, i: int) -> None:
        instance.ImageOrientationPatient = [1, 1e-6 * i, 0, 0, 1, -1e-6 * i]

    places, masks = clinic.dicom(6, jitter), clinic.balls(6)
    clinic.deliver(clinic.batch(places, masks))
    assert np.array_equal(read_back(segread(clinic.of() / "seg.dcm"), places), np.stack(masks))
    assert clinic.measured()["masks"][0]["slice_distance_mm"] == pytest.approx(3, abs=1e-3)


def test_frames_without_position_fall_back_to_a_mask_tiff(clinic: Clinic) -> None:
    """What a SEG cannot hold is written page by page, and the measurements say why."""

    def movie(instance: Dataset, i: int) -> None:
        without_geometry(instance, i)
        instance.SOPClassUID = MultiFrameGrayscaleByteSecondaryCaptureImageStorage
        instance.file_meta.MediaStorageSOPClassUID = instance.SOPClassUID
        instance.NumberOfFrames, instance.PixelData = 5, instance.PixelData * 5

    path = clinic.dicom(1, movie)[0].path
    masks = clinic.balls(5)
    split = clinic.deliver(clinic.batch([Place(path, frame, FileKind.DICOM) for frame in range(5)], masks))
    assert len(split.kept) == 5
    with Image.open(clinic.of() / "mask.tif") as picture:
        for page, mask_HW in enumerate(masks):
            picture.seek(page)
            assert np.array_equal(np.asarray(picture), mask_HW * 255)
    (listed,) = clinic.measured()["masks"]
    assert listed["file"] == "mask.tif"
    assert "frame of reference" in listed["why"]


def test_a_source_without_identifiers_falls_back_too(clinic: Clinic) -> None:
    """No series to refer to: no SEG, but a mask and a reason without identity."""

    def strip(instance: Dataset, _: int) -> None:
        del instance.SeriesInstanceUID

    clinic.deliver(clinic.batch(clinic.dicom(2, strip), clinic.balls(2)))
    (listed,) = clinic.measured()["masks"]
    assert listed["file"] == "mask.tif"
    assert "SeriesInstanceUID" in listed["why"]
