from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.base import Reason
from stages.batches import FileKind, Located, Place, Refused
from stages.ingest.options import IngestOptions
from stages.ingest.series import Series, Slice, batches, ordered
from stages.ingest.site import Site

SITE = Site(bytes(32))
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
TILTED = (1.0, 0.0, 0.0, 0.0, 0.978, -0.208)


def slice_at(name: str, depth: float | None = None, instance: int | None = None) -> Slice:
    position = None if depth is None else (0.0, 0.0, depth)
    return Slice(SITE.key(name, 0), Place(name, 0, FileKind.DICOM), 1, position, AXIAL, instance)


def names(slices: tuple[Slice, ...]) -> str:
    return "".join(one.place.path for one in slices)


@given(st.permutations("abcdef"))
def test_slices_are_sorted_by_position_whatever_their_names(order: list[str]) -> None:
    """Along the normal; instance numbers that run the other way do not matter."""
    slices = [slice_at(name, 3.0 * "fbdaec".index(name), -"fbdaec".index(name)) for name in order]
    assert names(ordered(slices)) == "fbdaec"


def test_position_is_measured_along_the_normal_of_tilted_slices() -> None:
    """In oblique series no single coordinate tells the order."""
    normal = np.cross(TILTED[:3], TILTED[3:])
    corners = [
        tuple(normal * depth + np.array(TILTED[3:]) * slip) for depth, slip in ((1, 9), (2, 0), (3, -9))
    ]
    slices = [
        Slice(b"", Place(name, 0, FileKind.DICOM), 1, at, TILTED)
        for name, at in zip("cba", corners, strict=True)
    ]
    assert names(ordered(slices)) == "cba"


@given(st.permutations(list(enumerate(zip("aAbBcC", (1, 1, 2, 2, 3, 3), strict=True)))))
def test_repeated_positions_become_stacks_one_after_the_other(
    order: list[tuple[int, tuple[str, int]]],
) -> None:
    """Two phases at three depths: neighbours in the order are neighbours in the body."""
    assert names(ordered([slice_at(name, depth, n) for n, (name, depth) in order])) == "abcABC"


@pytest.mark.parametrize("depths", [(1.0, None, 3.0), (None, None, None), (1.0, float("inf"), 2.0)])
def test_without_all_positions_the_instance_number_decides(depths: tuple[float | None, ...]) -> None:
    """One slice without position and the others' positions are of no use."""
    slices = [slice_at(name, depth, n) for name, depth, n in zip("abc", depths, (3, 1, 2), strict=True)]
    assert names(ordered(slices)) == "bca"


def test_without_numbers_the_path_decides() -> None:
    """The last resort is at least the same every time."""
    assert names(ordered([slice_at("c"), slice_at("a"), slice_at("b", None, 9)])) == "bac"


def test_slices_that_are_not_parallel_are_not_sorted_by_position() -> None:
    """Localisers of three directions share a series; their depths cannot be compared."""
    other = Slice(b"", Place("b", 0, FileKind.DICOM), 1, (0.0, 0.0, -5.0), (0.0, 1.0, 0.0, 0.0, 0.0, -1.0), 2)
    assert names(ordered([other, slice_at("a", 9.0, 1)])) == "ab"


def series(number: int, length: int, pixels: int = 1) -> Series:
    slices = tuple(
        Slice(SITE.key(f"{number}", k), Place(f"/{number}", k, FileKind.NIFTI), pixels) for k in range(length)
    )
    return Series(SITE.series(f"{number}"), slices)


@given(st.lists(st.integers(1, 40), max_size=12), st.integers(1, 16))
def test_every_frame_travels_once_and_in_order(lengths: list[int], batch: int) -> None:
    """However the series are packed and cut, and no batch is over the limit."""
    many = [series(number, length) for number, length in enumerate(lengths)]
    made = [one for one in batches(many, IngestOptions(batch=batch), SITE) if isinstance(one, Located)]
    assert [place for one in made for place in one.places] == [s.place for one in many for s in one.slices]
    assert all(1 <= len(one) <= batch for one in made)


@given(st.lists(st.integers(1, 40), max_size=12), st.integers(1, 16))
def test_a_series_is_whole_in_a_batch_or_alone_in_its_pieces(lengths: list[int], batch: int) -> None:
    """Pieces share their group and say how many they are; their sizes differ by one at most."""
    made = list(batches([series(*one) for one in enumerate(lengths)], IngestOptions(batch=batch), SITE))
    pieces = [one for one in made if isinstance(one, Located) and one.group]
    for one in made:
        assert isinstance(one, Located)
        if one.group is None:
            assert (one.parts, one.before, one.after) == (1, None, None)
            for pseudonym in set(one.series):
                assert (
                    one.series.count(pseudonym)
                    == lengths[int(one.places[one.series.index(pseudonym)].path[1:])]
                )
    for group in {one.group for one in pieces}:
        mine = [one for one in pieces if one.group == group]
        assert {one.parts for one in mine} == {len(mine)}
        assert len({pseudonym for one in mine for pseudonym in one.series}) == 1
        assert max(map(len, mine)) - min(map(len, mine)) <= 1


@given(st.integers(2, 60), st.integers(1, 9))
def test_a_piece_carries_its_neighbours_as_context(length: int, batch: int) -> None:
    """The frame before the first and after the last; none at the ends of the series."""
    made = [
        one
        for one in batches([series(0, length)], IngestOptions(batch=batch), SITE)
        if isinstance(one, Located)
    ]
    assert made[0].before is None
    assert made[-1].after is None
    for left, right in pairwise(made):
        assert left.after == right.places[0]
        assert right.before == left.places[-1]


def test_large_frames_travel_in_small_batches() -> None:
    """Pixels bound a batch as well as its count: a worker's memory does not grow with the detector."""
    limits = IngestOptions(max_pixels=100)
    made = list(
        batches([series(1, 2, 30), series(2, 2, 30), series(3, 7, 40), series(4, 1, 900)], limits, SITE)
    )
    assert [(len(one), one.parts) for one in made if isinstance(one, Located)] == [
        (2, 1),
        (2, 1),
        (2, 3),
        (2, 3),
        (3, 3),
        (1, 1),
    ]


def test_two_copies_of_a_series_never_meet_in_a_batch() -> None:
    """The last slice of one copy is no neighbour of the first of the other."""
    one, other = series(1, 2), series(2, 2)
    made = list(batches([one, other, one], IngestOptions(), SITE))
    assert [len(located) for located in made if isinstance(located, Located)] == [4, 2]


def test_two_copies_of_a_long_series_are_two_groups() -> None:
    """Whoever gathers pieces by group must not wait for four where two come."""
    one = series(1, 4)
    copy = Series(
        one.pseudonym, tuple(Slice(s.key, Place("/copy", s.place.frame, s.place.kind), 1) for s in one.slices)
    )
    made = [
        located
        for located in batches([one, copy], IngestOptions(batch=2), SITE)
        if isinstance(located, Located)
    ]
    assert [made.index(m) for m in made] == [0, 1, 2, 3]
    assert len({located.group for located in made}) == 2


def test_refused_files_pass_at_once() -> None:
    """A refusal does not wait until the batch before it is full."""
    refused = Refused("/x", b"", Reason.EMPTY, "")
    assert next(batches([series(1, 2), refused], IngestOptions(), SITE)) == refused
