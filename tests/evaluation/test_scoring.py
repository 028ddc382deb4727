from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from evaluation.cases import Case
from evaluation.scoring import CaseScore, Evaluation, score
from stages.batches import Frames, Rows


def case(truth_SHW: np.ndarray) -> Case:
    """A case that is only its reference, voxels of 2 x 1 x 1 mm."""
    return Case("a", Frames(Rows((), (), (), ()), ()), truth_SHW != 0, (2.0, 1.0, 1.0))


def test_one_case_by_hand() -> None:
    """Two slices of 4 voxels wanted, one found: Dice 2*4/(4+8), slice mean 1/2, volumes in ml."""
    truth = np.zeros((3, 6, 6))
    truth[0:2, 1:3, 1:3] = 1
    mask = truth.copy()
    mask[1] = 0
    found = score(case(truth), mask)
    assert found.dice_volume == pytest.approx(2 / 3)
    assert found.dice_slices == pytest.approx(0.5)
    assert found.volume_ml == pytest.approx(0.008)
    assert found.volume_true_ml == pytest.approx(0.016)
    assert found.asd_mm == pytest.approx(4 * 2 / 12)  # the missed slice's four voxels are 2 mm away
    assert found.hd95_mm == pytest.approx(2)


def test_picture_has_dice_and_no_millimetres() -> None:
    """Without spacing there are no distances and no volumes, and no invented ones."""
    truth = np.zeros((1, 6, 6))
    truth[0, 1:3, 1:3] = 1
    found = score(replace(case(truth), spacing_mm=None), truth)
    assert found.dice_volume == 1
    assert (found.hd95_mm, found.asd_mm, found.volume_ml, found.volume_true_ml) == (None,) * 4


def test_interval_is_over_patients() -> None:
    """Two patients give one that lies between them, one patient none."""
    scores = [CaseScore(name, dice, dice, 4.0, 1.0, 30.0, 31.0) for name, dice in (("a", 0.8), ("b", 0.9))]
    low, high = Evaluation(tuple(scores), 0.5).interval_95["dice_volume"] or (0, 0)
    assert (low, high) == (0.8, 0.9)
    assert Evaluation(tuple(scores[:1]), 0.5).interval_95["dice_volume"] is None


def test_mean_leaves_out_what_is_not_there() -> None:
    """A case without distance does not spoil the mean distance, but its Dice counts."""
    evaluation = Evaluation(
        (CaseScore("a", 0.8, 0.7, 4.0, 1.0, 30.0, 31.0), CaseScore("b", 0.0, 0.0, None, None, 0.0, 20.0)), 0.5
    )
    assert evaluation.mean["dice_volume"] == pytest.approx(0.4)
    assert evaluation.mean["hd95_mm"] == pytest.approx(4.0)


def test_document_has_the_contract_s_fields() -> None:
    """cases, mean and pooled_dice, valid JSON."""
    document = Evaluation((CaseScore("b", 0.0, 0.0, None, None, 0.0, 20.0),), 0.0).as_json()
    figures = ["dice_volume", "dice_slices", "hd95_mm", "asd_mm", "volume_ml", "volume_true_ml"]
    assert list(document) == ["cases", "mean", "interval_95", "pooled_dice"]
    assert list(document["cases"][0]) == ["name", *figures]
    assert list(document["mean"]) == figures
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["mean"]["hd95_mm"] is None
