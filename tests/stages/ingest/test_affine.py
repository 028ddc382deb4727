"""Headers whose accounts of the geometry agree, disagree, or are none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from stages.ingest.affine import Stated, lengths, plane_distances, reconciled

STEPS = np.array([1.1, 1.2, 3.0])
TURN = Rotation.from_euler("xyz", [5, 170, 20], degrees=True).as_matrix()
ORIGIN = np.array([10.0, -20.0, 30.0])
BAD = [0.0, np.nan, np.inf, 1e9]


def affine(turn: np.ndarray = TURN, steps: np.ndarray = STEPS) -> np.ndarray:
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = turn * steps, ORIGIN
    return made


def stated(**other: object) -> Stated:
    """All three accounts, agreeing, but for what is named."""
    return replace(Stated(STEPS, (False, False, False), affine(), TURN, ORIGIN), **other)


def millilitres(found: np.ndarray) -> float:
    return float(abs(np.linalg.det(found[:3, :3])))


def test_accounts_that_agree_need_no_word() -> None:
    """The sform is taken."""
    found = reconciled(stated())
    np.testing.assert_array_equal(found.affine, affine())
    assert (found.oriented, found.known, found.note) == (True, (True, True, True), "")


@pytest.mark.parametrize("sform", [affine(steps=STEPS * 1.3), affine(steps=STEPS * [1, 1, 0.5]), np.eye(4)])
@pytest.mark.parametrize("template", [True, False])
@pytest.mark.parametrize("rotation", [TURN, None])
def test_an_sform_of_other_lengths_gives_way_to_pixdim(
    sform: np.ndarray, template: bool, rotation: np.ndarray | None
) -> None:
    """Case n_mni: pixdim is filled in, and the note says both."""
    found = reconciled(stated(sform=sform, template=template, rotation=rotation))
    np.testing.assert_allclose(lengths(found.affine), STEPS)
    assert millilitres(found.affine) == pytest.approx(STEPS.prod())
    assert "1.1 by 1.2 by 3" in found.note
    assert found.note.endswith("pixdim is taken.")
    if rotation is not None:
        np.testing.assert_allclose(found.affine, affine())


def test_pixdim_that_nobody_filled_in_gives_way_to_the_sform() -> None:
    """All ones, and no qform that bears them out."""
    found = reconciled(stated(steps_mm=np.ones(3), rotation=None))
    np.testing.assert_array_equal(found.affine, affine())
    assert found.note.endswith("the sform is taken.")
    assert "pixdim is taken" in reconciled(stated(steps_mm=np.ones(3))).note
    assert "pixdim is taken" in reconciled(stated(steps_mm=np.ones(3), rotation=None, template=True)).note


def test_a_registration_that_shears_gives_back_the_scanner_s_box() -> None:
    """Its axes are made orthogonal again: the nearest rotation."""
    sheared = affine(steps=STEPS * 1.2)
    sheared[:3, 2] += 0.3 * sheared[:3, 0]
    found = reconciled(stated(sform=sheared, rotation=None, template=True))
    assert millilitres(found.affine) == pytest.approx(STEPS.prod())
    gram = found.affine[:3, :3].T @ found.affine[:3, :3]
    np.testing.assert_allclose(gram, np.diag(STEPS**2), atol=1e-9)


@pytest.mark.parametrize("stated_step", ["edge", "distance"])
def test_a_tilted_gantry_s_shear_is_kept(stated_step: str) -> None:
    """Planes are closer than the step from slice to slice, whichever of the two pixdim has."""
    tilted = affine()
    tilted[:3, 2] += 0.5 * tilted[:3, 1]
    edge, distance = lengths(tilted)[2], 3.0
    steps = np.array([1.1, 1.2, edge if stated_step == "edge" else distance])
    found = reconciled(stated(sform=tilted, steps_mm=steps, rotation=None))
    np.testing.assert_array_equal(found.affine, tilted)
    assert found.note == ""
    assert plane_distances(found.affine)[2] == pytest.approx(3.0)
    assert edge > 3.05


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("where", [(0, 0), (1, 3), (2, 2)])
def test_an_sform_that_is_no_map_gives_way_to_the_qform(bad: float, where: tuple[int, int]) -> None:
    """Not finite, singular, or beyond any patient."""
    broken = affine(np.eye(3))
    broken[where] = bad
    if where == (1, 3) and bad in (0.0, 1e9):
        return  # an origin may lie anywhere
    found = reconciled(stated(sform=broken))
    np.testing.assert_allclose(found.affine, affine())
    assert "sform spans no volume" in found.note


def test_a_singular_sform_of_sound_lengths_gives_way() -> None:
    """Two axes of one direction span no volume."""
    flat = affine()
    flat[:3, 1] = flat[:3, 0]
    np.testing.assert_allclose(reconciled(stated(sform=flat)).affine, affine())


def test_a_qform_alone_is_taken_and_a_damaged_one_leaves_the_box() -> None:
    """Without a direction the lengths are still the patient's."""
    np.testing.assert_allclose(reconciled(stated(sform=None)).affine, affine())
    found = reconciled(stated(sform=None, rotation=np.full((3, 3), np.nan)))
    np.testing.assert_allclose(lengths(found.affine), STEPS)
    assert not found.oriented
    assert "qform spans no volume" in found.note


@pytest.mark.parametrize("bad", BAD)
def test_without_any_length_nothing_is_known(bad: float) -> None:
    """And the note says so; a negative length is a flip, not a lack."""
    found = reconciled(stated(sform=None, steps_mm=np.array([1.0, bad, 1.0])))
    assert not np.isfinite(found.affine).any()
    assert found.known == (False, False, False)
    assert found.note == "The header states no usable geometry."
    np.testing.assert_allclose(lengths(reconciled(stated(steps_mm=-STEPS)).affine), STEPS)


def test_the_edge_of_a_single_slice_may_be_missing() -> None:
    """Areas are known, distances are not."""
    found = reconciled(stated(sform=None, steps_mm=np.array([1.1, 1.2, 0.0]), flat=(False, False, True)))
    assert found.known == (True, True, False)
    np.testing.assert_allclose(lengths(found.affine)[:2], STEPS[:2])


@given(
    hnp.arrays(np.float64, 3, elements=st.floats(width=32)),
    st.none() | hnp.arrays(np.float64, (4, 4), elements=st.floats(width=32)),
    st.none() | hnp.arrays(np.float64, (3, 3), elements=st.just(np.nan)) | st.just(TURN),
    st.booleans(),
)
def test_any_numbers_give_an_answer(
    steps: np.ndarray, sform: np.ndarray | None, rotation: np.ndarray | None, template: bool
) -> None:
    """Finite and of believable lengths, or wholly unknown with a word."""
    with np.errstate(all="ignore"):
        found = reconciled(Stated(steps, (False, False, False), sform, rotation, ORIGIN, template))
    if np.isfinite(found.affine).all():
        assert all(found.known)
        assert (lengths(found.affine) >= 0.01 * 0.999).all()
    else:
        assert found.known == (False, False, False)
        assert found.note


@pytest.mark.parametrize(
    ("sform", "word"),
    [
        (affine(TURN @ Rotation.from_euler("z", 2, degrees=True).as_matrix()), "other directions"),
        (affine(TURN * [-1, 1, 1]), "other directions"),  # left for right
        (affine() + np.diag([30.0], 3), "30 mm away"),
    ],
)
def test_transforms_of_equal_lengths_that_lead_elsewhere_are_told(sform: np.ndarray, word: str) -> None:
    """The volume is the same; where the mask lies is not."""
    found = reconciled(stated(sform=sform))
    np.testing.assert_array_equal(found.affine, sform)
    assert word in found.note
    assert found.note.endswith("the sform is taken.")


def test_a_box_of_ones_without_transforms_is_told() -> None:
    """As writers leave it that know nothing; other lengths were filled in."""
    assert "as writers leave" in reconciled(stated(sform=None, rotation=None, steps_mm=np.ones(3))).note
    assert reconciled(stated(sform=None, rotation=None)).note == ""
    assert reconciled(stated(sform=None, steps_mm=np.ones(3))).note == ""
