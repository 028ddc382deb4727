"""Flags: each has a series that raises it, its numbers, its text, and a series that does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread

from stages.deliver.caveats import TEXTS, Caveat, Flag, fewer, of_stack
from stages.deliver.options import DeliverOptions
from stages.deliver.planes import Plane, SegmentedFrame, Stack
from stages.doubt import Doubt
from stages.grid import Mask
from stages.places import FileKind, Place, StackId

if TYPE_CHECKING:
    from tests.stages.deliver.conftest import Clinic

USUAL = (0.5,) * 12  # novelty of slices like the training images
DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "delivery.md"


def flags(clinic: Clinic) -> dict[str, dict[str, Any]]:
    """Those of the series, by name."""
    return {one["flag"]: one for one in clinic.measured()["flags"]}


def lay(clinic: Clinic, depths_mm: list[float], masks: list[np.ndarray] | None = None, **more: Any) -> None:
    """Deliver a series with slices at these places."""

    def move(instance: Dataset, i: int) -> None:
        instance.ImagePositionPatient = [-10, -12, depths_mm[i]]

    places = clinic.dicom(len(depths_mm), move)
    novelty = [USUAL[0]] * len(places)
    clinic.deliver(clinic.batch(places, masks or clinic.balls(len(places)), novelty=novelty, **more))


def test_a_sound_series_raises_nothing(clinic: Clinic) -> None:
    """No flag, nothing to review."""
    lay(clinic, [0, 3, 6, 9, 12, 15, 18])
    measured = clinic.measured()
    assert (measured["flags"], measured["review"], measured["out_of_scope"]) == ([], False, False)


def test_missing_slices_are_counted(clinic: Clinic) -> None:
    """Gaps of three and two distances have room for three slices; the volume bridges them."""
    lay(clinic, [0, 3, 12, 15, 21, 24, 27])
    found = flags(clinic)["missing_slices"]
    assert (found["slices"], found["usual_mm"], found["widest_mm"], found["review"]) == (3, 3, 9, True)
    assert clinic.measured()["volume_ml"] > 0


def test_a_stack_that_changes_its_distance_misses_nothing(clinic: Clinic) -> None:
    """Twelve slices at 1.5 mm and then ten at 3 mm are uneven; what is usual is judged near by."""
    depths = [*(1.5 * i for i in range(12)), *(16.5 + 3 * i for i in range(1, 11))]
    places = clinic.dicom(
        22, lambda instance, i: setattr(instance, "ImagePositionPatient", [0, 0, depths[i]])
    )
    clinic.deliver(clinic.batch(places, clinic.balls(22), novelty=[0.5] * 22))
    assert list(flags(clinic)) == ["uneven_spacing"]


@pytest.mark.parametrize(("gap", "raised"), [(4.4, False), (4.6, True)])
def test_a_slice_is_missing_from_one_and_a_half_distances_on(
    clinic: Clinic, gap: float, *, raised: bool
) -> None:
    """At 3 mm: not in 4.4 mm, in 4.6 mm."""
    lay(clinic, [0, 3, 6, 6 + gap, 9 + gap, 12 + gap])
    assert ("missing_slices" in flags(clinic)) is raised


@pytest.mark.parametrize(("gap", "raised"), [(3.2, False), (3.4, True)])
def test_distances_that_differ_by_a_tenth_are_uneven(clinic: Clinic, gap: float, *, raised: bool) -> None:
    """At 3 mm: 3.2 mm is even, 3.4 mm is not."""
    lay(clinic, [0, 3, 6, 6 + gap, 9 + gap, 12 + gap])
    found = flags(clinic)
    assert ("uneven_spacing" in found) is raised
    if raised:
        assert (found["uneven_spacing"]["least_mm"], found["uneven_spacing"]["most_mm"]) == (3, 3.4)


@pytest.mark.parametrize(
    ("usual", "stated", "thickness", "raised"),
    [
        (6.0, 3.0, 3.0, True),  # every second slice is missing
        (9.0, 3.0, None, True),
        (6.05, 3.0, 3.0, True),
        (2.0, 1.0, 5.0, True),  # overlapping slices
        (1.5, 3.0, 3.0, True),  # slices of another stack lie between
        (3.0, 0.3, 2.7, False),  # the gap between edges
        (3.3, 3.0, 3.0, False),
        (4.5, 3.0, 3.0, False),
        (3.0, -3.0, 3.0, False),
        (6.0, None, 3.0, False),  # slices with gaps
        (3.0, 3.0, 1.5, False),
    ],
)
def test_the_spacing_that_is_stated_tells_what_even_distances_hide(
    clinic: Clinic, usual: float, stated: float | None, thickness: float | None, *, raised: bool
) -> None:
    """A whole multiple of it, or of the distance; not what vendors are known to put there."""

    def state(instance: Dataset, i: int) -> None:
        instance.ImagePositionPatient = [-10, -12, usual * i]
        instance.SliceThickness, instance.SpacingBetweenSlices = thickness, stated

    clinic.deliver(clinic.batch(clinic.dicom(5, state), clinic.balls(5), novelty=USUAL[:5]))
    assert list(flags(clinic)) == ["spacing_disagrees"] * raised
    assert clinic.measured()["volume_ml"] > 0


@pytest.mark.parametrize(("usual", "raised"), [(10.0, False), (10.5, True)])
def test_a_scout_s_slices_are_too_far_apart_for_a_volume(
    clinic: Clinic, usual: float, *, raised: bool
) -> None:
    """The number stays; a person should look where it has one."""
    lay(clinic, [usual * i for i in range(5)])
    found = flags(clinic)
    assert (("sparse_slices" in found), clinic.measured()["review"]) == (raised, raised)
    lay(clinic, [usual * i for i in range(5)], [np.zeros((48, 40))] * 5)
    assert clinic.measured()["review"] is False


def test_slices_without_prostate_between_slices_with_it_are_counted(clinic: Clinic) -> None:
    """The rest of the gland stays in the result."""
    masks = [np.array(mask_HW) for mask_HW in clinic.balls(9)]
    lay(clinic, [3.0 * i for i in range(9)], masks)
    assert flags(clinic) == {}
    whole = [one["pixels"] for one in clinic.measured()["masks"][0]["slices"]]
    masks[4] = masks[5] = np.zeros((48, 40))
    lay(clinic, [3.0 * i for i in range(9)], masks)
    found = flags(clinic)["gland_interrupted"]
    assert (found["slices"], found["review"]) == (2, True)
    left = [one["pixels"] for one in clinic.measured()["masks"][0]["slices"]]
    assert left == [*whole[:4], 0, 0, *whole[6:]]


@pytest.mark.parametrize(("width", "raised"), [(10, False), (11, True)])
def test_objects_that_went_are_said_from_a_twentieth_on(clinic: Clinic, width: int, *, raised: bool) -> None:
    """Of the volume that stays: 10 in 200 pixels are not said, 11 are, with both volumes."""
    box_HW = np.zeros((48, 40))
    box_HW[20:30, 10:30] = 1
    stray_HW = box_HW.copy()
    stray_HW[2, 2 : 2 + width] = 1
    empty_HW = np.zeros((48, 40))
    lay(clinic, [0, 3, 6, 9], [empty_HW, empty_HW, stray_HW, empty_HW])
    found = flags(clinic)
    assert ("objects_removed" in found) is raised
    assert clinic.measured()["volume_ml"] == pytest.approx(0.225)
    if raised:
        one = found["objects_removed"]
        assert (one["slices"], one["percent"], one["review"]) == (1, 5, True)
        assert (one["removed_ml"], one["kept_ml"]) == (0.012, 0.225)


@pytest.mark.parametrize(("rows", "raised"), [(10, False), (11, True)])
def test_a_mask_on_slices_unlike_the_training_images_is_said(
    clinic: Clinic, rows: int, *, raised: bool
) -> None:
    """One slice of five, but more than a quarter of the area; unknown novelty counts as usual."""
    boxes = []
    for height in (0, 20, rows, 10, 0):
        boxes.append(np.zeros((48, 40)))
        boxes[-1][10 : 10 + height, 10:20] = 1
    batch = clinic.batch(clinic.dicom(5), boxes, novelty=[0.5, 0.5, 1.5, np.nan, 0.5])
    clinic.deliver(batch)
    found = flags(clinic)
    assert list(found) == ["mask_out_of_distribution"] * raised
    assert not raised or (found["mask_out_of_distribution"]["percent"], clinic.measured()["review"]) == (
        27,
        True,
    )


def test_rejected_slices_are_counted_against_the_source(clinic: Clinic) -> None:
    """The source holds eight, six arrive."""
    lay(clinic, [0, 3, 6, 9, 12, 15], stacks=[StackId(1, 1, 8)] * 6)
    assert flags(clinic)["rejected_slices"]["text"] == (
        "Slices that the source holds and this result lacks: 2 of 8."
    )
    assert clinic.measured()["review"] is True


@pytest.mark.parametrize(("rows", "end"), [([0], "first"), ([5], "last"), ([0, 5], "first and the last")])
def test_a_prostate_on_an_end_of_the_stack_may_go_on_outside(
    clinic: Clinic, rows: list[int], end: str
) -> None:
    """It is said which end."""
    masks = clinic.balls(6)
    masks[0], masks[5] = np.zeros((48, 40)), np.zeros((48, 40))
    for row in rows:
        masks[row] = masks[2]
    lay(clinic, [0, 3, 6, 9, 12, 15], masks)
    assert flags(clinic)["gland_at_end"]["end"] == end


def test_one_slice_is_to_review_where_it_has_a_prostate(clinic: Clinic) -> None:
    """Of an empty one nothing is to be seen."""
    lay(clinic, [0], [np.zeros((48, 40))])
    assert flags(clinic)["one_slice"]["review"] is False
    clinic.deliver(clinic.batch(clinic.dicom(1), clinic.balls(1), novelty=[0.5]))
    assert flags(clinic)["one_slice"]["review"] is True


def test_stacks_that_only_an_order_tells_apart_are_to_review(clinic: Clinic) -> None:
    """Ingest says so with each row; numbers of the volume stay."""
    lay(clinic, [0, 3, 6, 9, 12, 15], stacks=[StackId(1, 1, 6, Doubt.ORDER)] * 6)
    assert list(flags(clinic)) == ["divided_by_order"]
    assert (clinic.measured()["review"], clinic.measured()["volume_ml"] > 0) == (True, True)


def test_a_plane_of_a_fan_has_no_volume(clinic: Clinic) -> None:
    """Ingest has told it from a plain single slice, whose thickness gives one."""
    lay(clinic, [0], clinic.balls(1), stacks=[StackId(1, 1, 1, Doubt.TURNED)])
    assert {"not_parallel", "one_slice"} <= flags(clinic).keys()
    assert (clinic.measured()["masks"][0]["volume_ml"], clinic.measured()["review"]) == (None, True)


def test_slices_that_are_not_axial_are_named_with_their_angle(clinic: Clinic) -> None:
    """Sagittal ones are at a right angle to axial; 20 degrees is still axial."""
    for degrees, raised in ((20, False), (90, True)):
        angle = np.radians(degrees)
        turned = [1, 0, 0, 0, float(np.cos(angle)), float(np.sin(angle))]

        def turn(instance: Dataset, i: int, turned: list[float] = turned) -> None:
            instance.ImageOrientationPatient = turned
            normal = np.cross(turned[:3], turned[3:])
            instance.ImagePositionPatient = [float(value) for value in 3 * i * normal]

        clinic.deliver(clinic.batch(clinic.dicom(5, turn), clinic.balls(5), novelty=USUAL[:5]))
        assert ("not_axial" in flags(clinic)) is raised
    assert flags(clinic)["not_axial"]["degrees"] == 90


def test_a_note_on_the_geometry_is_passed_on() -> None:
    """What the reader of a header found out stands in the result, and a person should look."""
    frame = SegmentedFrame(b"", Place("x.nii", 0, FileKind.NIFTI), Mask.pack(np.zeros((4, 4))), True, 0.5)
    stack = Stack(StackId(), (Plane(frame),) * 2, note="The sform is scaled; the pixdim was taken.")
    (caveat,) = of_stack(stack, DeliverOptions())
    assert (caveat.flag, caveat.text, caveat.review) == (Flag.GEOMETRY_NOTE, stack.note, True)


def test_a_picture_has_no_geometry_and_needs_no_review_for_it(clinic: Clinic) -> None:
    """That is its nature, and known to whoever gave it."""
    places = [Place("a/x.png", 0, FileKind.RASTER)]
    clinic.deliver(clinic.batch(places, [np.ones((9, 9))], novelty=[0.5]))
    assert list(flags(clinic)) == ["no_geometry"]
    assert clinic.measured()["review"] is False


@pytest.mark.parametrize(("novel", "raised"), [(3, False), (4, True)])
def test_a_stack_with_more_than_half_its_slices_out_of_distribution_is_marked(
    clinic: Clinic, novel: int, *, raised: bool
) -> None:
    """In the flags, in the SEG, on the overlay; its volume stays."""
    novelty = [1.5] * novel + [0.5] * (6 - novel)
    clinic.deliver(clinic.batch(clinic.dicom(6), clinic.balls(6), novelty=novelty))
    seg = dcmread(clinic.of() / "seg.dcm")
    assert ("out_of_distribution" in flags(clinic)) is raised
    assert ("OUT OF DISTRIBUTION" in seg.SeriesDescription) is raised
    assert ("OUT OF DISTRIBUTION" in seg.ContentDescription) is raised
    assert len(seg.SeriesDescription) <= 64
    assert len(seg.ContentDescription) <= 64
    assert clinic.measured()["volume_ml"] > 0


def test_marked_and_unmarked_segmentations_are_different_objects(clinic: Clinic) -> None:
    """A series has one description, and an instance one content."""
    found = []
    for novelty in (0.5, 1.5):
        clinic.deliver(clinic.batch(clinic.dicom(4), clinic.balls(4), novelty=[novelty] * 4))
        seg = dcmread(clinic.of() / "seg.dcm")
        found.append((seg.SOPInstanceUID, seg.SeriesInstanceUID))
    assert all(one != other for one, other in zip(*found, strict=True))


def test_another_modality_is_out_of_scope(clinic: Clinic) -> None:
    """No SEG, no volume to use, nothing to review, a banner; a number only under its mask with the flag."""

    def scan(instance: Dataset, _: int) -> None:
        instance.Modality = "CT"

    places, masks = clinic.dicom(6, scan), clinic.balls(6)
    batch = clinic.batch(places, masks, novelty=USUAL[:6], stacks=[StackId(1, 1, 9)] * 6)
    split = clinic.deliver(batch)
    measured = clinic.measured()
    (mask,) = measured["masks"]
    assert mask["file"] == "mask.tif"
    assert mask["why"] == "The modality is CT; in scope is MR. Do not use the result."
    assert mask["volume_ml"] > 0
    assert (measured["volume_ml"], measured["out_of_scope"], measured["review"]) == (None, True, False)
    assert dict(split.kept.counters) == {"series_to_review": 0, "out_of_scope": 1}
    banner = amber(clinic.of() / "overlay.png")
    clinic.deliver(batch, DeliverOptions(modalities=("MR", "CT")))
    assert clinic.measured()["masks"][0]["file"] == "seg.dcm"
    assert banner > amber(clinic.of() / "overlay.png") + 10_000


def test_one_slice_of_another_modality_puts_its_stack_out_of_scope(clinic: Clinic) -> None:
    """Whichever slice it is; and what states none does not count."""

    def mixed(instance: Dataset, i: int) -> None:
        instance.Modality = ("MR", "", "CT", "MR")[i]

    clinic.deliver(clinic.batch(clinic.dicom(4, mixed), clinic.balls(4), novelty=USUAL[:4]))
    assert flags(clinic)["out_of_scope"]["modality"] == "CT, MR"
    assert clinic.measured()["out_of_scope"] is True


def test_a_source_without_modality_is_in_scope(clinic: Clinic) -> None:
    """Then novelty alone decides; and an empty list lets in any."""

    def nameless(instance: Dataset, _: int) -> None:
        del instance.Modality

    clinic.deliver(clinic.batch(clinic.dicom(4, nameless), clinic.balls(4), novelty=USUAL[:4]))
    assert clinic.measured()["out_of_scope"] is False

    def scan(instance: Dataset, _: int) -> None:
        instance.Modality = "CT"

    clinic.deliver(
        clinic.batch(clinic.dicom(4, scan), clinic.balls(4), novelty=USUAL[:4]), DeliverOptions(modalities=())
    )
    assert clinic.measured()["out_of_scope"] is False


def amber(picture: Path) -> int:
    """How many pixels have the colour of outlines and warnings."""
    with Image.open(picture) as sheet:
        return int((np.asarray(sheet.convert("RGB")) == (255, 196, 0)).all(axis=-1).sum())


def test_each_finding_is_a_line_on_the_overlay(clinic: Clinic) -> None:
    """The sheet grows by it."""
    heights = []
    for count in (6, 9):
        lay(clinic, [0, 3, 6, 9, 12, 15], stacks=[StackId(1, 1, count)] * 6)
        with Image.open(clinic.of() / "overlay.png") as sheet:
            heights.append(sheet.height)
    assert heights[1] - heights[0] == 20


@pytest.mark.parametrize(
    ("caveat", "text"),
    [
        (
            Caveat(Flag.MISSING_SLICES, numbers={"slices": 3, "usual_mm": 3.0, "widest_mm": 9.0}),
            "Gaps wider than 1.5 times the usual 3 mm have room for slices: 3. The widest gap is 9 mm.",
        ),
        (
            Caveat(Flag.UNEVEN_SPACING, numbers={"least_mm": 1.5, "most_mm": 3.0}),
            "The distance between slices varies from 1.5 to 3 mm.",
        ),
        (
            Caveat(Flag.SPACING_DISAGREES, numbers={"usual_mm": 6.0, "stated_mm": 3.0}),
            "Slices lie 6 mm apart, but state 3 mm: some may be missing, or of two stacks.",
        ),
        (
            Caveat(Flag.SPARSE_SLICES, numbers={"usual_mm": 30.0}),
            "Slices lie 30 mm apart: a volume from them is rough.",
        ),
        (
            Caveat(Flag.DIVIDED_BY_ORDER),
            "Only the order of numbers or times tells images of one place apart: some may belong elsewhere.",
        ),
        (
            Caveat(Flag.NOT_PARALLEL),
            "The planes of the series are turned against each other, as in a fan: they have no volume.",
        ),
        (
            Caveat(Flag.REJECTED_SLICES, numbers={"slices": 2, "of": 20}),
            "Slices that the source holds and this result lacks: 2 of 20.",
        ),
        (
            Caveat(Flag.GLAND_AT_END, numbers={"end": "last"}),
            "The prostate reaches the last slice: a part of it may lie outside.",
        ),
        (Caveat(Flag.ONE_SLICE), "There is one slice only."),
        (
            Caveat(Flag.NO_GEOMETRY, numbers={"why": "A picture states no geometry."}),
            "A picture states no geometry.",
        ),
        (Caveat(Flag.GEOMETRY_NOTE, numbers={"why": "The sform is sheared."}), "The sform is sheared."),
        (
            Caveat(Flag.NOT_AXIAL, numbers={"degrees": 90.0}),
            "The slices are 90 degrees off axial; the model learned from axial slices.",
        ),
        (
            Caveat(Flag.OUT_OF_DISTRIBUTION, numbers={"slices": 12, "of": 20}),
            "Out of distribution: 12 of 20 slices. Do not rely on them.",
        ),
        (
            Caveat(Flag.OUT_OF_SCOPE, numbers={"modality": "CT", "modalities": "MR"}),
            "The modality is CT; in scope is MR. Do not use the result.",
        ),
        (
            Caveat(Flag.INTERLEAVED_STACKS),
            "The slices lie evenly between those of another stack of the series: both may be one volume.",
        ),
        (
            Caveat(Flag.MISSING_PARTS, numbers={"parts": 1, "of": 2}),
            "Parts that the concatenation of the source states and this result lacks: 1 of 2.",
        ),
        (
            fewer(3, 2),
            "Slices that version 2 has and this one lacks: 3. Version 2 stays the result of the series.",
        ),
    ],
)
def test_the_texts_are_these(caveat: Caveat, text: str) -> None:
    """People quote them, and programs may show them."""
    assert caveat.text == text
    assert json.loads(json.dumps(caveat.as_json()))["flag"] == caveat.flag.value


def test_two_images_of_one_identifier_are_said(clinic: Clinic) -> None:
    """With the number of slices; a person should look."""
    lay(clinic, [0, 3, 6, 9, 12, 15], stacks=[StackId(1, 1, 6, conflicts=2)] * 6)
    found = flags(clinic)
    assert list(found) == ["conflicting_images"]
    assert (found["conflicting_images"]["slices"], clinic.measured()["review"]) == (2, True)


def test_every_flag_has_a_text_and_stands_in_the_document() -> None:
    """The list in docs/delivery.md is that of the code."""
    assert set(TEXTS) == set(Flag)
    described = {line.split("`")[1] for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")}
    assert {flag.value for flag in Flag} <= described
