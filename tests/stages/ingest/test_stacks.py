"""Which slices of a series are one volume, and in which order."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.batches import FileKind, Place
from stages.doubt import Doubt
from stages.ingest.acquisition import Acquisition
from stages.ingest.site import Site
from stages.ingest.slices import Slice
from stages.ingest.stacks import stacked

SITE = Site(bytes(32))
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
TILTED = (1.0, 0.0, 0.0, 0.0, 0.978, -0.208)


def slice_at(name: str, depth: float | None = None, instance: int | None = None, **marks: str) -> Slice:
    position = None if depth is None else (0.0, 0.0, depth)
    return Slice(
        SITE.key(name, 0),
        Place(name, 0, FileKind.DICOM),
        1,
        position,
        AXIAL,
        instance,
        (16, 16),
        (1.0, 1.0),
        1,
        Acquisition(**marks),
    )


def names(*slices: Slice) -> list[str]:
    """The stacks, each as the names of its slices."""
    return ["".join(one.place.path for one in stack.slices) for stack in stacked(slices)]


def phases(depths: list[float], values: list[str], mark: str, shift_mm: float = 0.0) -> list[Slice]:
    """Every depth imaged once for each value of a mark; named 0a, 1a, ... 0b, 1b, ..."""
    number = count(1)
    return [
        slice_at(f"{row}{chr(97 + n)} ", depth + n * shift_mm, next(number), **{mark: value})
        for n, value in enumerate(values)
        for row, depth in enumerate(depths)
    ]


def image_of(one: Slice) -> int:
    """Which image of its place it is, by its name."""
    return "abcd".index(one.place.path[1])


@given(st.permutations("abcdef"), st.permutations(range(6)))
def test_slices_are_ordered_by_position_whatever_names_and_numbers(order: list[str], turn: list[int]) -> None:
    """Along the normal; files and Instance Numbers in any order make the same stack."""
    slices = [slice_at(name, 3.0 * "fbdaec".index(name), turn[row]) for row, name in enumerate(order)]
    assert names(*slices) == ["fbdaec"]


def test_position_is_measured_along_the_normal_of_tilted_slices() -> None:
    """In oblique series no single coordinate tells the order."""
    normal = np.cross(TILTED[:3], TILTED[3:])
    slips = ((1, 9), (2, 0), (3, -9))
    corners = [tuple(normal * depth + np.array(TILTED[3:]) * slip) for depth, slip in slips]
    slices = [
        replace(slice_at(name), position=at, orientation=TILTED)
        for name, at in zip("cba", corners, strict=True)
    ]
    assert names(*slices) == ["cba"]


@pytest.mark.parametrize(
    ("mark", "values"),
    [
        ("temporal_position", ["1", "2", "10"]),
        ("echo", ["1", "2", "3"]),
        ("echo_time", ["4.6", "13.8", "100"]),
        ("b_value", ["0", "50", "800"]),
        ("gradient", ["", "1\\0\\0", "0\\1\\0"]),
        ("number", ["2", "3", "11"]),
        ("phase", ["0", "25.5", "333"]),
        ("dimensions", ["1", "2", "3"]),
        ("time", ["120000", "120130.5", "120300"]),
        ("content_time", ["120000", "120130", "120300"]),
        ("inversion_time", ["100", "200", "300"]),
        ("stack", ["1", "2", "3"]),
        ("image_type", ["M", "P", "R"]),
    ],
)
@pytest.mark.parametrize("shift_mm", [0.0, 0.4])
def test_every_place_stands_once_in_a_stack(mark: str, values: list[str], shift_mm: float) -> None:
    """Whatever tells the images of a place apart makes the stacks, also where the table moved a little."""
    slices = phases([0.0, 3.0, 6.0, 9.0], values, mark, shift_mm)
    expected = ["0a 1a 2a 3a ", "0b 1b 2b 3b ", "0c 1c 2c 3c "]
    assert sorted(names(*reversed(slices))) == expected
    if mark not in ("gradient", "image_type", "inversion_time", "content_time"):
        assert names(*slices) == expected  # in order of acquisition, by value


def test_a_phase_that_lacks_slices_does_not_spoil_the_others() -> None:
    """Its slices stay its own; those of the next phase do not move up."""
    slices = phases([0.0, 3.0, 6.0, 9.0], ["1", "2", "3"], "temporal_position")
    slices = [one for one in slices if one.place.path not in ("0b ", "1b ")]
    assert names(*slices) == ["0a 1a 2a 3a ", "2b 3b ", "0c 1c 2c 3c "]


def test_two_marks_together_explain_what_one_does_not() -> None:
    """Three directions of one b-value, none of b 0."""
    slices = phases([0.0, 3.0, 6.0], ["0", "800", "800", "800"], "b_value")
    directions = ["", "1\\0\\0", "0\\1\\0", "0\\0\\1"]
    slices = [
        replace(one, acquisition=one.acquisition._replace(gradient=directions[image_of(one)]))
        for one in slices
    ]
    assert len(names(*slices)) == 4
    assert names(*slices)[0] == "0a 1a 2a "


def test_a_mark_of_each_slice_s_own_divides_nothing() -> None:
    """A trigger time differs from slice to slice within each of the two phases."""
    slices = phases([0.0, 3.0, 6.0, 9.0], ["", ""], "phase")
    slices = [
        replace(one, acquisition=one.acquisition._replace(phase=f"{17 * n % 97}"))
        for n, one in enumerate(slices)
    ]
    assert names(*slices) == ["0a 1a 2a 3a ", "0b 1b 2b 3b "]


@pytest.mark.parametrize("mark", ["temporal_position", "b_value", "echo", "echo_time", "inversion_time"])
def test_a_contrast_divides_also_where_no_place_repeats(mark: str) -> None:
    """The table moved by half a slice between two phases."""
    slices = phases([0.0, 3.0, 6.0, 9.0], ["1", "2"], mark, 1.5)
    assert names(*slices) == ["0a 1a 2a 3a ", "0b 1b 2b 3b "]


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


def test_interleaved_acquisitions_are_one_volume() -> None:
    """Odd slices in one acquisition, even ones in another: no place is imaged twice."""
    slices = [slice_at(name, 3.0 * n, n, number=str(1 + n % 2)) for n, name in enumerate("abcdef")]
    assert names(*slices) == ["abcdef"]


def test_slabs_and_uneven_distances_are_one_volume() -> None:
    """Distances may vary within a series; delivery states them."""
    depths = [0.0, 1.5, 3.0, 4.5, 7.5, 10.5, 60.5, 63.5]
    assert names(*(slice_at(name, depth) for name, depth in zip("abcdefgh", depths, strict=True))) == [
        "abcdefgh"
    ]


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


def test_localisers_stand_apart_from_the_slices_they_planned() -> None:
    """Planes of other directions, shapes and spacings are stacks of their own."""
    volume = [slice_at(name, 3.0 * n, n + 9) for n, name in enumerate("abcd")]
    plane = replace(slice_at("s", 0.0, 1), orientation=SAGITTAL)
    large = replace(slice_at("l", 6.0, 2), shape=(32, 32))
    wide = replace(slice_at("w", 6.0, 3), spacing_mm=(2.0, 2.0))
    typed = slice_at("t", 6.0, 4, image_type="ORIGINAL\\PRIMARY\\LOCALIZER")
    assert sorted(names(*volume, plane, large, wide, typed)) == ["abcd", "l", "s", "t", "w"]


@given(st.lists(st.floats(-2e-3, 2e-3), min_size=5, max_size=5))
def test_small_differences_of_headers_divide_nothing(jitter: list[float]) -> None:
    """Cosines, spacings and shifts are compared within tolerances, never for equality."""
    slices = [
        replace(
            slice_at(name, 3.0 * n + off),
            orientation=(1.0, off, 0.0, 0.0, 1.0, off),
            spacing_mm=(1.0 + off, 1.0),
        )
        for n, (name, off) in enumerate(zip("abcde", jitter, strict=True))
    ]
    assert names(*slices) == ["abcde"]


@pytest.mark.parametrize("orientation", [None, (0.0,) * 6, (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)])
def test_slices_without_use_of_a_position_are_ordered_by_number(
    orientation: tuple[float, ...] | None,
) -> None:
    """And do not disturb those that have one."""
    lost = [
        replace(slice_at(name, 1.0, n), orientation=orientation) for name, n in (("x", 3), ("y", 1), ("z", 2))
    ]
    assert sorted(names(*lost, slice_at("b", 3.0, 5), slice_at("a", 0.0, 4))) == ["ab", "yzx"]


def test_images_of_one_single_place_stay_together() -> None:
    """No volume can be made of them however they are divided: equal positions, or a cine of one slice."""
    assert names(*(slice_at(name, 5.0, n) for name, n in (("x", 3), ("y", 1), ("z", 2)))) == ["yzx"]
    cine = [slice_at(name, 5.0, n, phase=phase) for name, n, phase in (("x", 1, "80"), ("y", 2, "9"))]
    assert names(*cine) == ["yx"]


def test_frames_without_position_stay_with_their_file() -> None:
    """Two cines in one series are two stacks, their frames in the order of the file."""
    frames = [
        replace(slice_at(path), position=None, place=Place(path, k, FileKind.DICOM), frames=2)
        for k in (1, 0)
        for path in "ba"
    ]
    stacks = stacked(frames)
    assert [[(one.place.path, one.place.frame) for one in stack.slices] for stack in stacks] == [
        [("a", 0), ("a", 1)],
        [("b", 0), ("b", 1)],
    ]


def test_without_numbers_the_path_decides() -> None:
    """The last resort is at least the same every time."""
    assert names(slice_at("c"), slice_at("a"), slice_at("b", None, 9)) == ["bac"]


@given(st.data())
def test_every_slice_stands_in_one_stack(data: st.DataObject) -> None:
    """Whatever headers say, none is lost and none stands twice."""
    number = st.floats(allow_nan=False, allow_infinity=False, width=32)
    slices = [
        replace(
            slice_at(f"{n}", instance=data.draw(st.integers(-3, 3) | st.none())),
            position=data.draw(st.tuples(number, number, number) | st.none()),
            orientation=data.draw(st.tuples(*[number] * 6) | st.sampled_from([AXIAL, SAGITTAL, TILTED])),
            acquisition=Acquisition(*data.draw(st.lists(st.sampled_from(["", "1", "x"]), max_size=13))),
        )
        for n in range(data.draw(st.integers(0, 12)))
    ]
    found = [one for stack in stacked(slices) for one in stack.slices]
    assert sorted(one.place.path for one in found) == sorted(one.place.path for one in slices)


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (["M\\ND", "M\\ND\\NORM"] * 3, ["abcdef"]),  # a filter of some slices
        (["M\\ND"] * 2 + ["M\\FIL"] + ["M\\ND"] * 3, ["abcdef"]),
        (["M\\ND"] * 5 + ["M\\MIP"], ["abcde", "f"]),  # at the end: beside the volume
        (["M\\ND", "P\\ND"] * 3, ["ace", "bdf"]),  # magnitude and phase
    ],
)
def test_image_types_that_interlock_are_one_volume(types: list[str], expected: list[str]) -> None:
    """Where they differ in the processing only, and slices of one lie between those of the other."""
    slices = [
        slice_at(chr(97 + n), 3.0 * n, n, image_type=f"ORIGINAL\\PRIMARY\\{kind}")
        for n, kind in enumerate(types)
    ]
    assert sorted(names(*slices)) == expected


def in_frames(*uids: str) -> list[Slice]:
    """Slices 3 mm apart, named a, b, ..., in these frames of reference."""
    return [replace(slice_at(chr(97 + n), 3.0 * n, n), frame_of_reference=uid) for n, uid in enumerate(uids)]


@pytest.mark.parametrize(
    ("uids", "expected"),
    [
        ("1122", ["ab", "cd"]),
        ("1212", ["ac", "bd"]),
        ("11 1", ["abcd"]),  # one states none
        ("1 22", ["a", "b", "cd"]),  # whose is it?
        ("    ", ["abcd"]),
        ("1234", ["abcd"]),  # a UID for each file tells nothing
        ("1  2", ["a", "bc", "d"]),
        ("1 23", ["abcd"]),
    ],
)
def test_frames_of_reference_divide(uids: str, expected: list[str]) -> None:
    """Their positions cannot be compared; where nothing is stated nothing is divided."""
    assert sorted(names(*in_frames(*map(str.strip, uids)))) == expected


def test_frames_of_an_object_are_in_one_frame_of_reference_whatever_others_are_in() -> None:
    """Two objects of a series with a UID each are two stacks: a file here is no single slice."""
    frames = [
        replace(
            slice_at(path, 3.0 * k), place=Place(path, k, FileKind.DICOM), frames=2, frame_of_reference=path
        )
        for path in "ab"
        for k in (0, 1)
    ]
    assert names(*frames) == ["aa", "bb"]


def test_modalities_divide() -> None:
    """A series of two is two; a slice that names none belongs to the others where these agree."""
    slices = [replace(one, modality="MR") for one in in_frames("", "", "")]
    assert names(*slices[:2], replace(slices[2], modality="")) == ["abc"]
    assert names(*slices[:2], replace(slices[2], modality="CT")) == ["ab", "c"]
