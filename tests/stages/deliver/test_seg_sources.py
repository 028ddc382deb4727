"""DICOM Segmentations of stacks whose frames lie in several objects, or in some frames of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest
from highdicom.seg import Segmentation, segread
from pydicom import Dataset, dcmread
from pydicom.uid import EnhancedMRImageStorage, generate_uid

from stages.places import FileKind, Place, StackId

if TYPE_CHECKING:
    from tests.stages.deliver.conftest import Clinic


def enhanced(clinic: Clinic, name: str, depths_mm: Sequence[float], *, shared: bool = True) -> list[Place]:
    """An enhanced MR object with a frame at each depth, its geometry shared or repeated in every frame."""
    instance = dcmread(clinic.dicom(1)[0].path)
    instance.SOPClassUID = instance.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    instance.SOPInstanceUID = generate_uid(entropy_srcs=[str(clinic.folder), name])
    instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = instance.PixelSpacing, 3
    measures.SpacingBetweenSlices = -0.3  # a lie, as some scanners write it
    orientation.ImageOrientationPatient = instance.ImageOrientationPatient
    for keyword in ("PixelSpacing", "SliceThickness", "ImageOrientationPatient", "ImagePositionPatient"):
        delattr(instance, keyword)

    def group(*, common: bool, depth: float | None = None) -> Dataset:
        item = Dataset()
        if common:
            item.PixelMeasuresSequence, item.PlaneOrientationSequence = [measures], [orientation]
        if depth is not None:
            position = Dataset()
            position.ImagePositionPatient = [-10, -12, depth]
            item.PlanePositionSequence = [position]
        return item

    instance.SharedFunctionalGroupsSequence = [group(common=shared)]
    instance.PerFrameFunctionalGroupsSequence = [group(common=not shared, depth=depth) for depth in depths_mm]
    instance.NumberOfFrames = len(depths_mm)
    instance.PixelData = instance.PixelData * len(depths_mm)
    path = clinic.folder / f"{name}.dcm"
    instance.save_as(path)
    return [Place(str(path), frame, FileKind.DICOM) for frame in range(len(depths_mm))]


def single(clinic: Clinic) -> list[Place]:
    return clinic.dicom(6)


def one_object(clinic: Clinic) -> list[Place]:
    return enhanced(clinic, "one", [3.0 * i for i in range(6)])


def own_groups(clinic: Clinic) -> list[Place]:
    return enhanced(clinic, "one", [3.0 * i for i in range(6)], shared=False)


def shuffled(clinic: Clinic) -> list[Place]:
    places = enhanced(clinic, "one", [9, 0, 15, 3, 12, 6])
    return [places[i] for i in (1, 3, 5, 0, 4, 2)]


def one_frame_each(clinic: Clinic) -> list[Place]:
    return [enhanced(clinic, f"frame {i}", [3.0 * i])[0] for i in range(6)]


def concatenation(clinic: Clinic) -> list[Place]:
    return [*enhanced(clinic, "a", [0, 3, 6, 9]), *enhanced(clinic, "b", [12, 15])]


def interleaved(clinic: Clinic) -> list[Place]:
    return enhanced(clinic, "one", [3.0 * (i // 2) for i in range(12)])[1::2]


def mixed(clinic: Clinic) -> list[Place]:
    return [*clinic.dicom(3), *enhanced(clinic, "one", [9, 12, 15])]


SOURCES = (single, one_object, own_groups, shuffled, one_frame_each, concatenation, interleaved, mixed)


def voxels(seg: Segmentation, places: Sequence[Place]) -> np.ndarray:
    """The mask of each place, found by the references of the frames alone."""
    found = {}
    for frame, item in enumerate(seg.PerFrameFunctionalGroupsSequence):
        (source,) = item.DerivationImageSequence[0].SourceImageSequence
        number = source.get("ReferencedFrameNumber")
        found[source.ReferencedSOPInstanceUID, number] = np.atleast_3d(seg.pixel_array.T).T[frame]
    masks = []
    for place in places:
        header = dcmread(place.path, stop_before_pixels=True)
        number = place.frame + 1 if "PerFrameFunctionalGroupsSequence" in header else None
        masks.append(found.get((header.SOPInstanceUID, number), np.zeros((header.Rows, header.Columns))))
    return np.stack(masks)


@pytest.mark.parametrize("source", SOURCES)
def test_frames_refer_to_their_sources_wherever_these_lie(
    clinic: Clinic, source: Callable[[Clinic], list[Place]]
) -> None:
    """Instance and frame number of each, and every instance of the stack once in the references."""
    places, masks = source(clinic), clinic.balls(6)
    clinic.deliver(clinic.batch(places, masks))
    seg = segread(clinic.of() / "seg.dcm")
    assert np.array_equal(voxels(seg, places), np.stack(masks))
    positions = [
        item.PlanePositionSequence[0].ImagePositionPatient[2] for item in seg.PerFrameFunctionalGroupsSequence
    ]
    assert sorted(positions) == [3.0 * i for i, mask_HW in enumerate(masks) if mask_HW.any()]
    headers = {place.path: dcmread(place.path, stop_before_pixels=True) for place in places}
    wanted = [(one.SOPClassUID, one.SOPInstanceUID) for one in headers.values()]
    for references in (seg.SourceImageSequence, seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence):
        assert [(one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID) for one in references] == wanted
    (measures,) = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.SpacingBetweenSlices == 3
    assert measures.PixelSpacing == [0.5, 0.75]


def test_two_stacks_of_one_object_get_two_segmentations(clinic: Clinic) -> None:
    """B-values at each position: frames of each stack, and no others, are referred to."""
    places = enhanced(clinic, "one", [3.0 * (i // 2) for i in range(12)])
    order, masks = [*places[::2], *places[1::2]], clinic.balls(6)
    empty = [np.zeros((48, 40))] * 6
    stacks = [StackId(1 + i // 6, 2, 6) for i in range(12)]
    clinic.deliver(clinic.batch(order, [*masks, *empty], stacks=stacks))
    first, second = (segread(clinic.of() / f"stack-{number}" / "seg.dcm") for number in (1, 2))
    assert np.array_equal(voxels(first, places[::2]), np.stack(masks))
    assert not voxels(second, places[1::2]).any()
    assert first.SOPInstanceUID != second.SOPInstanceUID


@pytest.mark.parametrize(
    ("depths_mm", "spacing_mm"),
    [([0, 3, 6, 9, 12, 15], 3), ([0, 3, 6, 12, 15, 18], None), ([0, 1.5, 3, 6, 9, 12], None), ([0], None)],
)
def test_the_distance_of_slices_is_that_of_positions_or_absent(
    clinic: Clinic, depths_mm: list[float], spacing_mm: float | None
) -> None:
    """Never what the header claims, nor one distance where there are several, nor any for one slice."""

    def place(instance: Dataset, i: int) -> None:
        instance.ImagePositionPatient = [-10, -12, depths_mm[i]]
        instance.SpacingBetweenSlices = -0.3

    masks = [clinic.balls(6)[2]] * len(depths_mm)
    clinic.deliver(clinic.batch(clinic.dicom(len(depths_mm), place), masks))
    seg = dcmread(clinic.of() / "seg.dcm")
    (measures,) = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.get("SpacingBetweenSlices") == spacing_mm
    assert measures.SliceThickness == 2.5


def test_a_structure_on_one_slice_keeps_the_distance_of_its_stack(clinic: Clinic) -> None:
    """One frame is left, but it was one of six."""
    masks = [np.zeros((48, 40))] * 6
    masks[2] = clinic.balls(6)[2]
    clinic.deliver(clinic.batch(clinic.dicom(6), masks))
    (measures,) = dcmread(clinic.of() / "seg.dcm").SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.SpacingBetweenSlices == 3


@pytest.mark.parametrize(
    ("stated", "thickness_mm"),
    [([None] * 4, 3), ([0] * 4, 3), ([-2.5] * 4, 3), ([2, None, 2.5, 2], 2)],
)
def test_a_thickness_is_that_of_the_source_or_the_measured_distance(
    clinic: Clinic, stated: list[float | None], thickness_mm: float
) -> None:
    """What most slices state; where none states any, what lies between the slices of an even stack."""

    def state(instance: Dataset, i: int) -> None:
        instance.SliceThickness = stated[i]

    clinic.deliver(clinic.batch(clinic.dicom(4, state), clinic.balls(4)))
    (measures,) = dcmread(clinic.of() / "seg.dcm").SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.SliceThickness == thickness_mm


@pytest.mark.parametrize("depths_mm", [[0], [0, 3, 6, 12, 15]])
def test_where_nothing_tells_a_thickness_it_is_absent(clinic: Clinic, depths_mm: list[float]) -> None:
    """One slice, or uneven ones, of a source that states none: none is made up."""

    def state(instance: Dataset, i: int) -> None:
        instance.ImagePositionPatient = [-10, -12, depths_mm[i]]
        del instance.SliceThickness

    masks = [clinic.balls(6)[2]] * len(depths_mm)
    clinic.deliver(clinic.batch(clinic.dicom(len(depths_mm), state), masks))
    (measures,) = dcmread(clinic.of() / "seg.dcm").SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert "SliceThickness" not in measures
    assert "SpacingBetweenSlices" not in measures
