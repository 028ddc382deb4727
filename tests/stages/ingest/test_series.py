from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stages.base import Reason
from stages.batches import Located, Refused
from stages.doubt import Doubt
from stages.ingest.options import IngestOptions
from stages.ingest.series import Series, batches
from stages.ingest.site import Site
from stages.ingest.slices import Slice, SliceStack
from stages.places import FileKind, Place, StackId

SITE = Site(bytes(32))


def series(number: int, length: int, pixels: int = 1) -> Series:
    slices = tuple(
        Slice(SITE.key(f"{number}", k), Place(f"/{number}", k, FileKind.NIFTI), pixels) for k in range(length)
    )
    return Series(SITE.series(f"{number}"), (SliceStack(slices),))


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
        one.pseudonym,
        (
            SliceStack(
                tuple(Slice(s.key, Place("/copy", s.place.frame, s.place.kind), 1) for s in one.slices)
            ),
        ),
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


def test_a_row_says_which_stack_it_is_of() -> None:
    """Its number, how many stacks the series has, how many slices the stack, and what is doubtful of it."""
    one, two = SliceStack(series(1, 2).slices), SliceStack(series(2, 3).slices, Doubt.ORDER)
    (made,) = batches([Series(b"s", (one, two))], IngestOptions(), SITE)
    assert isinstance(made, Located)
    assert made.stacks == (StackId(1, 2, 2),) * 2 + (StackId(2, 2, 3, Doubt.ORDER),) * 3


def test_a_cut_between_two_stacks_has_no_context() -> None:
    """The last slice of one stack is no neighbour of the first of the next."""
    many = Series(b"s", (SliceStack(series(1, 2).slices), SliceStack(series(2, 2).slices)))
    left, right = batches([many], IngestOptions(batch=2), SITE)
    assert isinstance(left, Located)
    assert isinstance(right, Located)
    assert (left.after, right.before) == (None, None)
