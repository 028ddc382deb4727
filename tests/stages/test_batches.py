from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from stages.batches import Entries, Features, Located, Mask, Rows, Segmented
from stages.places import FileKind, Place

PLACES = tuple(Place(f"file-{row}", 0, FileKind.RASTER) for row in range(6))
BEFORE, AFTER = Place("before", 0, FileKind.RASTER), Place("after", 0, FileKind.RASTER)
NAMES = tuple(bytes([row]) * 32 for row in range(6))


def rows(*numbers: int) -> Rows:
    return Rows(*(tuple(bytes([field, number]) for number in numbers) for field in range(4)))


def segmented(*numbers: int, novelty: float = 0.5) -> Segmented:
    count = len(numbers)
    return Segmented(
        rows(*numbers),
        tuple(Mask.pack(np.full((2, 3), number)) for number in numbers),
        np.array(numbers, np.float32),
        np.ones(count, np.bool_),
        np.array([[number, 1] for number in numbers], np.float32),
        np.full(count, novelty, np.float32),
    )


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_a_mask_comes_back_as_it_was_packed(mask: NDArray[np.uint8]) -> None:
    """Whatever its sides and whatever stands for the structure; eight pixels take a byte."""
    packed = Mask.pack(mask)
    np.testing.assert_array_equal(packed.unpack(), (mask != 0).astype(np.uint8))
    assert packed.shape == mask.shape
    assert packed.bits.nbytes == -(-mask.size // 8)


@pytest.mark.parametrize(("novelty", "flagged"), [(0.5, 0), (1.0, 0), (1.001, 2), (float("nan"), 0)])
def test_slices_above_the_limit_of_novelty_are_counted(novelty: float, flagged: int) -> None:
    """At the limit, and where it is not known, none is."""
    assert segmented(1, 2, novelty=novelty).counters == {"out_of_distribution": flagged}


def test_batches_that_a_person_need_not_look_at_count_nothing() -> None:
    """Both with rows of their own and without."""
    features = Features(rows(1, 2), np.zeros((2, 4), np.float32))
    assert (features.counters, len(features), features.keys) == ({}, 2, rows(1, 2).keys)
    entries = Entries(NAMES[:3], np.arange(3), NAMES[:3], np.ones(3, np.bool_))
    assert (entries.counters, len(entries)) == ({}, 3)


def test_joined_batches_hold_all_rows_in_order() -> None:
    """Every array of a row goes with it."""
    whole, parts = segmented(1, 2, 3), Segmented.join([segmented(1, 2), segmented(3)])
    assert (parts.rows, len(parts)) == (whole.rows, 3)
    for name in ("confidence_N", "spacing_known_N", "feature_ND", "novelty_N"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    assert [mask.unpack().tolist() for mask in parts.masks] == [
        mask.unpack().tolist() for mask in whole.masks
    ]


@pytest.mark.parametrize(("lo", "hi"), [(0, 4), (0, 2), (1, 3), (3, 4)])
def test_features_are_cut_and_joined_again(lo: int, hi: int) -> None:
    """Rows lo to hi - 1, with their vectors."""
    whole = Features(rows(0, 1, 2, 3), np.arange(8, dtype=np.float32).reshape(4, 2))
    cut = whole.cut(lo, hi)
    assert cut.rows == rows(*range(lo, hi))
    np.testing.assert_array_equal(cut.feature_ND, whole.feature_ND[lo:hi])
    joined = Features.join([whole.cut(0, lo), cut, whole.cut(hi, 4)])
    assert joined.rows == whole.rows
    np.testing.assert_array_equal(joined.feature_ND, whole.feature_ND)


def test_a_cut_keeps_the_context_of_its_own_series() -> None:
    """The row beyond a cut is a neighbour where it is of the same series; the ends keep what they had."""
    series = (b"a", b"a", b"a", b"b", b"b", b"b")
    whole = Located(NAMES, series, PLACES, BEFORE, AFTER, b"group", 2)

    def context(lo: int, hi: int) -> tuple[Place | None, Place | None]:
        part = whole.cut(lo, hi)
        assert (part.keys, part.series, part.places) == (NAMES[lo:hi], series[lo:hi], PLACES[lo:hi])
        assert (part.group, part.parts, len(part), part.counters) == (b"group", 2, hi - lo, {})
        return part.before, part.after

    assert context(0, 6) == (BEFORE, AFTER)
    assert context(0, 2) == (BEFORE, PLACES[2])
    assert context(2, 6) == (PLACES[1], AFTER)
    assert context(1, 3) == (PLACES[0], None)
    assert context(3, 5) == (None, PLACES[5])
