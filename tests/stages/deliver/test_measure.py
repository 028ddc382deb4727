"""Measurements: millimetres where the source states them, null where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom import Dataset

from stages.places import StackId

if TYPE_CHECKING:
    from tests.stages.deliver.conftest import Clinic


def test_a_known_box_measures_what_it_is(clinic: Clinic) -> None:
    """10 by 8 pixels of 0.5 by 0.75 mm on four slices 3 mm apart: 30 mm2 each, 0.36 ml."""
    box_HW = np.zeros((48, 40))
    box_HW[5:15, 20:28] = 1
    clinic.deliver(clinic.batch(clinic.dicom(4), [box_HW] * 4))
    measured = clinic.measured()
    assert measured["volume_ml"] == pytest.approx(0.36)
    assert measured["gland_slices"] == 4
    (mask,) = measured["masks"]
    assert [one["area_mm2"] for one in mask["slices"]] == [30.0] * 4
    assert mask["spacing_mm"] == [0.5, 0.75]
    assert (measured["product"], measured["model"]) == ("MedSecure-U", "weights-7")
    assert "Not a medical device" in measured["notice"]


def test_slices_are_listed_in_the_order_of_the_stack(clinic: Clinic) -> None:
    """As ingest sorted them, with record id and position; arrival of stacks does not matter."""
    places, masks = clinic.dicom(6), clinic.balls(6)
    stacks = [StackId(2 - i // 3, 2, 3) for i in range(6)]
    batch = clinic.batch(places, masks, stacks=stacks)
    clinic.deliver(batch)
    first, second = clinic.measured()["masks"]
    assert (first["stack"], second["stack"]) == (1, 2)
    listed = [*second["slices"], *first["slices"]]
    assert [one["pixels"] for one in listed] == [int(mask_HW.sum()) for mask_HW in masks]
    assert [one["record_id"] for one in listed] == [key.hex() for key in batch.rows.keys]
    assert [one["position_mm"] for one in listed] == [0, 3, 6, 9, 12, 15]


def test_confidence_is_not_stated_before_it_is_calibrated(clinic: Clinic) -> None:
    """The field stays for those who read it, and is null."""
    clinic.deliver(clinic.batch(clinic.dicom(3), clinic.balls(3)))
    assert {one["confidence"] for one in clinic.measured()["masks"][0]["slices"]} == {None}


def test_slices_unlike_the_training_images_are_marked(clinic: Clinic) -> None:
    """Yes, no, or not known, never a guess; the series counts those that are."""
    places, masks = clinic.dicom(6), clinic.balls(6)
    batch = clinic.batch(places, masks)
    clinic.deliver(batch)
    measured = clinic.measured()
    (mask,) = measured["masks"]
    wanted = [None if np.isnan(novelty) else bool(novelty > 1) for novelty in batch.novelty_N]
    assert [one["out_of_distribution"] for one in mask["slices"]] == wanted
    assert None in wanted
    assert (
        measured["out_of_distribution_slices"] == batch.counters["out_of_distribution"] == wanted.count(True)
    )


def test_without_spacing_nothing_is_claimed_in_millimetres(clinic: Clinic) -> None:
    """Areas and volume are null and the flag is false; pixels remain."""

    def blind(instance: Dataset, _: int) -> None:
        del instance.PixelSpacing

    clinic.deliver(clinic.batch(clinic.dicom(3, blind), [np.ones((48, 40))] * 3, known=False))
    measured = clinic.measured()
    assert measured["spacing_known"] is False
    assert measured["volume_ml"] is None
    assert [one["area_mm2"] for one in measured["masks"][0]["slices"]] == [None] * 3
    assert measured["masks"][0]["slices"][0]["pixels"] == 48 * 40


def test_one_slice_takes_its_thickness(clinic: Clinic) -> None:
    """Without a neighbour the stated thickness stands for the distance."""
    clinic.deliver(clinic.batch(clinic.dicom(1), [np.ones((48, 40))]))
    assert clinic.measured()["masks"][0]["slice_distance_mm"] == 2.5


def test_a_rejected_slice_does_not_stretch_the_distance(clinic: Clinic) -> None:
    """The distance between slices is the usual one, not the mean over a hole."""
    places = clinic.dicom(6)
    clinic.deliver(clinic.batch(places[:2] + places[3:], clinic.balls(5)))
    assert clinic.measured()["masks"][0]["slice_distance_mm"] == 3
