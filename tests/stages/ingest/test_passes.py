"""Repeated places that an order alone tells apart: numbers, or times of each image's own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stages.doubt import Doubt
from stages.ingest.acquisition import Acquisition
from stages.ingest.slices import Slice
from stages.ingest.stacks import stacked
from tests.stages.ingest.slicing import image_of, names, phases, slice_at


@pytest.mark.parametrize("mark", ["time", "number", "content_time"])
def test_a_phase_of_two_passes_is_one_stack(mark: str) -> None:
    """Odd slices first, then even ones, in each of three phases."""
    slices = [
        slice_at(f"{row}{phase} ", 3.0 * row, 20 * n + row, **{mark: str(100 + 2 * n + row % 2)})
        for n, phase in enumerate("abc")
        for row in range(6)
    ]
    assert names(*reversed(slices)) == [f"0{p} 1{p} 2{p} 3{p} 4{p} 5{p} " for p in "abc"]


@pytest.mark.parametrize("mark", ["", "time", "number"])
def test_a_retaken_slice_leaves_the_volume_whole(mark: str) -> None:
    """Numbered next to the first take; times of each image's own, or passes of odd and even slices."""
    takes = [(row, name) for row, name in enumerate("abcdefgh") for name in (name, "X")[: 1 + (name == "d")]]
    slices = [
        slice_at(name, 3.0 * row, n, **({mark: str(n if mark == "time" else row % 2)} if mark else {}))
        for n, (row, name) in enumerate(takes)
    ]
    assert names(*slices) == ["abcdefgh", "X"]


def test_times_of_each_image_s_own_tell_phases_apart() -> None:
    """They grow within a phase, also where the last slice of one is missing."""
    slices = phases([0.0, 3.0, 6.0, 9.0], ["", "", ""], "echo")
    slices = [replace(one, acquisition=Acquisition(time=f"{n}"), instance=1) for n, one in enumerate(slices)]
    slices = [one for one in slices if one.place.path != "3b "]
    assert names(*reversed(slices)) == ["0a 1a 2a 3a ", "0b 1b 2b ", "0c 1c 2c 3c "]


@pytest.mark.parametrize("major", ["phase", "slice"])
def test_repeated_places_without_any_mark_are_dealt_out_by_number(major: str) -> None:
    """Whether numbers run through the slices first or through the phases."""
    slices = phases([0.0, 3.0, 6.0], ["", "", ""], "echo")
    if major == "slice":
        slices = [replace(one, instance=3 * int(one.place.path[0]) + image_of(one)) for one in slices]
    assert names(*reversed(slices)) == ["0a 1a 2a ", "0b 1b 2b ", "0c 1c 2c "]


def test_a_number_that_is_missing_in_one_phase_shifts_no_other() -> None:
    """Where numbers run through the slices first, a stack ends where a place comes again."""
    slices = [one for one in phases([0.0, 3.0, 6.0], ["", "", ""], "echo") if one.place.path != "1b "]
    assert names(*slices) == ["0a 1a 2a ", "0b 2b ", "0c 1c 2c "]


@pytest.mark.parametrize("lost", ["0a ", "0b ", "0c ", "2b ", "1b "])
@pytest.mark.parametrize("mark", ["", "time"])
@pytest.mark.parametrize("descending", [False, True])
def test_a_missing_image_at_an_end_of_a_phase_mixes_no_phases(
    lost: str, mark: str, *, descending: bool
) -> None:
    """Each phase runs from one end of the body to the other, whether numbers or times tell their order."""
    slices = phases([0.0, 3.0, 6.0], ["", "", ""], "echo")
    if descending:
        slices = [slice_at(one.place.path, -one.position[2], one.instance) for one in slices if one.position]
    if mark:
        slices = [
            replace(one, acquisition=Acquisition(time=f"{n}"), instance=1) for n, one in enumerate(slices)
        ]
    found = names(*(one for one in slices if one.place.path != lost))
    assert [sorted(stack.split()) for stack in found] == [
        [name for name in (f"0{p}", f"1{p}", f"2{p}") if name != lost.strip()] for p in "abc"
    ]


@pytest.mark.parametrize("lost", ["0a ", "1a ", "1c ", "3b "])
def test_a_missing_image_mixes_no_phases_whose_numbers_run_through_each_place(lost: str) -> None:
    """The numbers that are left tell which image of its place each is."""
    slices = phases([0.0, 3.0, 6.0, 9.0], ["", "", ""], "echo")
    slices = [replace(one, instance=3 * int(one.place.path[0]) + image_of(one)) for one in slices]
    found = names(*(one for one in slices if one.place.path != lost))
    assert sorted(found, key=lambda stack: stack[1]) == [
        "".join(f"{n}{p} " for n in range(4) if f"{n}{p} " != lost) for p in "abc"
    ]


def doubts(*slices: Slice) -> set[Doubt]:
    return {stack.doubt for stack in stacked(slices)}


def test_a_stack_says_that_numbers_alone_tell_it_from_others() -> None:
    """Phases without a mark, and an image that was taken again; not phases of a mark, nor a plain volume."""
    volume = [slice_at(name, 3.0 * n, n) for n, name in enumerate("abcd")]
    assert doubts(*volume) == {Doubt.NONE}
    assert doubts(*volume, slice_at("x", 3.0, 9)) == {Doubt.ORDER}
    for mark, doubt in (("temporal_position", Doubt.NONE), ("", Doubt.ORDER)):
        marked = phases([0.0, 3.0, 6.0], ["1", "2"], mark or "echo")
        made = marked if mark else [replace(one, acquisition=Acquisition()) for one in marked]
        assert doubts(*made) == {doubt}


@pytest.mark.parametrize(("lost", "doubt"), [("", Doubt.NONE), ("2b ", Doubt.NONE), ("0b ", Doubt.ORDER)])
def test_a_stack_says_that_times_can_be_read_in_two_ways(lost: str, doubt: Doubt) -> None:
    """Where the first image of a phase is missing, that of the next could stand in its place."""
    slices = phases([0.0, 3.0, 6.0], ["", "", ""], "echo")
    slices = [replace(one, acquisition=Acquisition(time=f"{n}")) for n, one in enumerate(slices)]
    assert doubts(*(one for one in slices if one.place.path != lost)) == {doubt}


def test_one_repeated_place_leaves_the_volume_whole() -> None:
    """A slice that was taken again stands alone, after the volume that it repeats."""
    slices = [slice_at(name, 3.0 * n, n) for n, name in enumerate("abcd")]
    assert names(*slices, slice_at("x", 3.0, 9)) == ["abcd", "x"]
