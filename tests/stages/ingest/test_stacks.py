"""Which slices of a series are one volume, and in which order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.ingest.acquisition import Acquisition
from stages.ingest.slices import Slice
from stages.ingest.stacks import stacked
from stages.places import FileKind, Place
from tests.stages.ingest.slicing import AXIAL, SAGITTAL, TILTED, image_of, names, phases, slice_at


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


@pytest.mark.parametrize(("mark", "values"), [("echo_time", "100 100.001"), ("b_value", "800 801 799")])
def test_values_that_differ_by_rounding_divide_nothing(mark: str, values: str) -> None:
    """A time or a b-value is a measure, compared within a tolerance; 0 is none of the others."""
    several = values.split()
    slices = [slice_at(chr(97 + n), 3.0 * n, n, **{mark: several[n % len(several)]}) for n in range(8)]
    assert names(*slices) == ["abcdefgh"]
    low = [slice_at(chr(65 + n), 3.0 * n, n, **{mark: "0"}) for n in range(8)]
    assert sorted(names(*slices, *low)) == ["ABCDEFGH", "abcdefgh"]


@pytest.mark.parametrize("mark", ["temporal_position", "b_value", "echo", "echo_time", "inversion_time"])
def test_a_contrast_divides_also_where_no_place_repeats(mark: str) -> None:
    """The table moved by half a slice between two phases."""
    slices = phases([0.0, 3.0, 6.0, 9.0], ["1", "2"], mark, 1.5)
    assert names(*slices) == ["0a 1a 2a 3a ", "0b 1b 2b 3b "]


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
    assert sorted(names(*slices[:2], replace(slices[2], modality="CT"))) == ["ab", "c"]


def several_stacks() -> dict[str, list[Slice]]:
    """Series of two stacks each, which nothing but the named difference tells apart."""
    one = [slice_at(f"a{n}", 3.0 * n) for n in range(4)]
    other = [slice_at(f"b{n}", 3.0 * n + 1) for n in range(4)]
    moved = [replace(each, position=(90.0, 0.0, 3.0 * n)) for n, each in enumerate(other)]
    return {
        "side by side": one + moved,
        "frame of reference": [
            replace(each, frame_of_reference=uid) for uid, part in (("1", other), ("2", one)) for each in part
        ],
        "orientation": one
        + [replace(each, orientation=SAGITTAL, position=(3.0 * n, 0.0, 0.0)) for n, each in enumerate(other)],
        "modality": [
            replace(each, modality=name) for name, part in (("MR", one), ("CT", other)) for each in part
        ],
        "shape": one + [replace(each, shape=(32, 32)) for each in other],
        "spacing": one + [replace(each, spacing_mm=(2.0, 2.0)) for each in other],
        "inversion time": phases([0.0, 3.0, 6.0, 9.0], ["150", "170"], "inversion_time"),
        "content time": phases([0.0, 3.0, 6.0, 9.0], ["120001", "120100"], "content_time"),
    }


@pytest.mark.parametrize("kind", several_stacks())
@settings(max_examples=20)
@given(st.permutations(range(8)), st.permutations(range(8)), st.permutations(range(8)))
def test_stacks_come_in_one_order_whatever_names_and_numbers(
    kind: str, rows: list[int], instances: list[int], paths: list[int]
) -> None:
    """Files in any order, under any names and Instance Numbers: the same stacks, first to last."""
    slices = several_stacks()[kind]
    shuffled = [
        replace(slices[row], instance=number, place=Place(f"{path}", 0, FileKind.DICOM))
        for row, number, path in zip(rows, instances, paths, strict=True)
    ]
    found, expected = (
        [[one.key for one in stack.slices] for stack in stacked(some)] for some in (shuffled, slices)
    )
    assert found == expected
    assert len(found) == 2
