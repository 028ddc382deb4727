"""The table of situations: how the files of each are made, and what is right."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from pydicom.uid import CTImageStorage

from tests.situations.interrupted import (
    FULL_ML,
    INTERRUPTED_ML,
    empty_slice,
    noise_at_the_end,
    recentred,
)
from tests.situations.maker import (
    DEPTHS_MM,
    GAP_MM,
    PIXEL_MM,
    SAGITTAL,
    SIDE,
    Study,
    ball,
    tilted,
    volume_ml,
)

SOUND = volume_ml()
UNEVEN = [*np.arange(-27.0, 0.0, 3.0).tolist(), *np.arange(0.0, 20.0, 1.5).tolist()]
HOLES = [depth for depth in DEPTHS_MM if depth not in (-3.0, 0.0, 9.0)]


@dataclass(frozen=True)
class Situation:
    """How its files are made, and what is right."""

    make: Callable[[Study], None]
    volumes: tuple[float | None, ...]  # of its mask files, in the order of the list
    slices: tuple[int, ...]  # of each
    segs: int  # how many of them are DICOM Segmentations
    letters: tuple[str, ...] = ()  # reasons
    flags: frozenset[str] = frozenset()


def split(study: Study) -> None:
    for number, depth in enumerate(DEPTHS_MM, 1):
        study.slice(depth, number, f"{'AB'[number % 2]}/{number}.dcm")


def copied(study: Study) -> None:
    study.volume()
    for number in (3, 4, 9):
        shutil.copy(
            study.folder / study.name / f"{number:04d}.dcm", study.folder / study.name / f"copy{number}.dcm"
        )


def renumbered(study: Study) -> None:
    order = np.random.default_rng(1).permutation(len(DEPTHS_MM))
    for row, depth in enumerate(DEPTHS_MM):
        study.slice(depth, int(order[row]) + 1, uid=study.uid(row + 1))


def phases(**marks: Sequence[Any]) -> Callable[[Study], None]:
    """Three images of each place; a mark may tell them apart."""

    def make(study: Study) -> None:
        number = count(1)
        for phase in range(3):
            for depth in DEPTHS_MM:
                study.slice(depth, next(number), **{name: values[phase] for name, values in marks.items()})

    return make


def first_lost(study: Study) -> None:
    phases()(study)
    (study.folder / study.name / f"{len(DEPTHS_MM) + 1:04d}.dcm").unlink()


def shifted(study: Study) -> None:
    for phase in (1, 2):
        for row, depth in enumerate(DEPTHS_MM):
            number = 100 * phase + row
            study.slice(depth + GAP_MM / 2 * (phase - 1), number, TemporalPositionIdentifier=phase)


def two_passes(study: Study) -> None:
    for phase in range(3):
        for row, depth in enumerate(DEPTHS_MM):
            time = f"12{phase:02d}{30 * (row % 2):02d}"
            study.slice(depth, 100 * phase + row + 1, AcquisitionTime=time)


def retaken(study: Study) -> None:
    study.volume()
    study.slice(3.0, 99)


def localiser(study: Study) -> None:
    study.volume()
    for number in (91, 92):
        place = [number, -25, 25]
        study.slice(0.0, number, ImageOrientationPatient=list(SAGITTAL), ImagePositionPatient=place)


def another_size(study: Study) -> None:
    study.volume()
    image = np.pad(ball(0.0), 10, constant_values=100)
    study.slice(1.0, 99, image=image)


def radial(study: Study) -> None:
    """Planes about the ball's axis from left to right, all through its middle."""
    for number in range(3):
        cosines = tilted(2.5 * number - 6)
        corner = -(SIDE - 1) / 2 * PIXEL_MM * (np.array(cosines[:3]) + cosines[3:])
        place = [round(float(value), 6) for value in corner]
        study.slice(0.0, number, ImagePositionPatient=place, ImageOrientationPatient=cosines)


def side_by_side(study: Study) -> None:
    """The ball in two fields of view, slices of one between those of the other."""
    for row, depth in enumerate(DEPTHS_MM):
        study.slice(depth, row)
        study.slice(depth + 1, 100 + row, ImagePositionPatient=[150, 0, depth + 1])


def one_filtered(study: Study) -> None:
    for row, depth in enumerate(DEPTHS_MM):
        study.slice(depth, row, ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "NORM"][: 5 - row % 2])


def two_frames(study: Study) -> None:
    for number in (1, 2):
        for row, depth in enumerate(DEPTHS_MM):
            shift, uid = GAP_MM / 3 * (number - 1), study.uid("frame", number)
            study.slice(depth + shift, 100 * number + row, FrameOfReferenceUID=uid)


def many_frames(study: Study) -> None:
    for number, depth in enumerate(DEPTHS_MM, 1):
        study.slice(depth, number, FrameOfReferenceUID=study.uid("frame", number))


def frame_in_some(study: Study) -> None:
    for number, depth in enumerate(DEPTHS_MM, 1):
        study.slice(depth, number, FrameOfReferenceUID=study.uid("frame") if number % 3 else "")


def torn(**marks: Sequence[Any]) -> Callable[[Study], None]:
    """Every second slice differs from the others by a mark."""

    def make(study: Study) -> None:
        for row, depth in enumerate(DEPTHS_MM):
            study.slice(depth, row, **{name: values[row % 2] for name, values in marks.items()})

    return make


def two_modalities(study: Study) -> None:
    for number, modality in enumerate(("MR", "PT")):
        for row, depth in enumerate(DEPTHS_MM):
            study.slice(depth + number, 100 * number + row, Modality=modality)


def shuffled(study: Study) -> None:
    order = np.random.default_rng(2).permutation(len(DEPTHS_MM))
    study.enhanced([{"depth": DEPTHS_MM[row]} for row in order], "one.dcm")


def of_one_frame(study: Study) -> None:
    for row, depth in enumerate(DEPTHS_MM):
        study.enhanced([{"depth": depth}], f"{row}.dcm", NumberOfFrames=1)


def concatenation(study: Study) -> None:
    for part, depths in enumerate((DEPTHS_MM[::2], DEPTHS_MM[1::2])):
        study.enhanced([{"depth": depth} for depth in depths], f"{part}.dcm")


def part_lost(study: Study) -> None:
    """The first of two halves."""
    frames = [{"depth": depth} for depth in DEPTHS_MM[::2]]
    stated = {"ConcatenationUID": study.uid("whole"), "InConcatenationTotalNumber": 2}
    study.enhanced(frames, "0.dcm", InConcatenationNumber=1, **stated)


def diffusion(study: Study) -> None:
    frames = [{"depth": depth, "b_value": b} for depth in DEPTHS_MM for b in (0.0, 800.0)]
    study.enhanced(frames, "one.dcm")


def jitter(study: Study) -> None:
    for number, depth in enumerate(DEPTHS_MM, 1):
        off = 1e-5 * (number % 3)
        study.slice(depth, number, ImageOrientationPatient=[1.0, off, 0.0, 0.0, 1.0, off])


def oblique(study: Study) -> None:
    cosines = tilted(20)
    normal = np.cross(cosines[:3], cosines[3:])
    for number, depth in enumerate(DEPTHS_MM, 1):
        position = [round(float(value), 6) for value in normal * depth]
        study.slice(depth, number, ImagePositionPatient=position, ImageOrientationPatient=cosines)


def damaged(study: Study) -> None:
    study.volume()
    path = study.folder / study.name / "0010.dcm"
    path.write_bytes(path.read_bytes()[:-200])


def conflict(study: Study) -> None:
    study.volume()
    study.slice(0.0, 10, "other.dcm", image=ball(0.0, 5.0))


def twins(study: Study) -> None:
    """Other images of the same UIDs, by names that come first."""
    for number, depth in enumerate(DEPTHS_MM, 1):
        study.slice(depth, number)
        if 5 <= number < 15:
            study.slice(depth, number, f"0000-{number}.dcm", image=ball(depth, 5.0))


def other_spacing(study: Study) -> None:
    for number, depth in enumerate(DEPTHS_MM, 1):
        study.slice(depth, number, f"a/{number}.dcm", PixelSpacing=[PIXEL_MM / 2, PIXEL_MM / 2])
        study.slice(depth, number, f"b/{number}.dcm")


def fuller_copy(study: Study) -> None:
    for number, depth in enumerate(DEPTHS_MM, 1):
        study.slice(depth, number, f"a/{number}.dcm", ImagePositionPatient=None)
        study.slice(depth, number, f"b/{number}.dcm")


def enlarged(study: Study) -> None:
    study.volume(DEPTHS_MM[5:])  # from -12 mm: the gland begins outside


PLAIN = ((SOUND,), (19,), 1)
END, LOST = frozenset({"gland_at_end"}), frozenset({"no_geometry"})
CONTESTED = frozenset({"conflicting_images"})
ORDER = frozenset({"divided_by_order"})
TORN = frozenset({"interleaved_stacks"})
HALVES = (volume_ml(DEPTHS_MM[::2]), volume_ml(DEPTHS_MM[1::2]))
SITUATIONS = {
    "sound": Situation(Study.volume, *PLAIN),
    "split": Situation(split, *PLAIN),
    "copied": Situation(copied, *PLAIN),
    "renumbered": Situation(renumbered, *PLAIN),
    "jitter": Situation(jitter, *PLAIN),
    "oblique": Situation(oblique, *PLAIN),
    "shuffled": Situation(shuffled, *PLAIN),
    "of_one_frame": Situation(of_one_frame, *PLAIN),
    "concatenation": Situation(concatenation, *PLAIN),
    "phases": Situation(phases(TemporalPositionIdentifier=(1, 2, 3)), (SOUND,) * 3, (19,) * 3, 3),
    "echoes": Situation(phases(EchoTime=(4, 8, 100)), (SOUND,) * 3, (19,) * 3, 3),
    "times": Situation(phases(AcquisitionTime=("120000", "120100", "120200")), (SOUND,) * 3, (19,) * 3, 3),
    "shifted": Situation(
        shifted, (SOUND, volume_ml([depth + GAP_MM / 2 for depth in DEPTHS_MM])), (19, 19), 2, flags=TORN
    ),
    "two_passes": Situation(two_passes, (SOUND,) * 3, (19,) * 3, 3),
    "retaken": Situation(retaken, (SOUND, None), (19, 1), 2, flags=ORDER | {"one_slice"}),
    "unmarked": Situation(phases(), (SOUND,) * 3, (19,) * 3, 3, flags=ORDER),
    "unmarked_first_lost": Situation(
        first_lost, (SOUND, volume_ml(DEPTHS_MM[1:]), SOUND), (19, 18, 19), 3, flags=ORDER
    ),
    "diffusion": Situation(diffusion, (SOUND,) * 2, (19,) * 2, 2),
    "localiser": Situation(localiser, (SOUND, None), (19, 2), 2, flags=frozenset({"not_axial"})),
    "radial": Situation(radial, (None,) * 3, (1,) * 3, 3, flags=frozenset({"not_parallel", "one_slice"})),
    "two_frames": Situation(
        two_frames, (SOUND, volume_ml([depth + GAP_MM / 3 for depth in DEPTHS_MM])), (19, 19), 2
    ),
    "side_by_side": Situation(
        side_by_side, (SOUND, volume_ml([depth + 1 for depth in DEPTHS_MM])), (19, 19), 2
    ),
    "one_filtered": Situation(one_filtered, *PLAIN),
    "many_frames": Situation(many_frames, (None,), (19,), 0, flags=LOST),
    "frame_in_some": Situation(frame_in_some, *PLAIN),
    "two_modalities": Situation(
        two_modalities, (SOUND, None), (19, 19), 1, flags=frozenset({"out_of_scope"})
    ),
    "another_size": Situation(another_size, (SOUND, None), (19, 1), 2, flags=frozenset({"one_slice"})),
    "holes": Situation(
        lambda study: study.volume(HOLES), (volume_ml(HOLES),), (16,), 1, flags=frozenset({"missing_slices"})
    ),
    "half_way": Situation(
        lambda study: study.volume([GAP_MM / 2 * n for n in range(-18, 19)], SpacingBetweenSlices=GAP_MM),
        (volume_ml([GAP_MM / 2 * n for n in range(-18, 19)]),),
        (37,),
        1,
        flags=frozenset({"spacing_disagrees"}),
    ),
    "scout": Situation(
        lambda study: study.volume((-30.0, 0.0, 30.0)),
        (volume_ml((-30.0, 0.0, 30.0)),),
        (3,),
        1,
        flags=frozenset({"sparse_slices"}),
    ),
    "every_second": Situation(
        lambda study: study.volume(DEPTHS_MM[::2], SpacingBetweenSlices=GAP_MM),
        (volume_ml(DEPTHS_MM[::2]),),
        (10,),
        1,
        flags=frozenset({"spacing_disagrees"}),
    ),
    "uneven": Situation(
        lambda study: study.volume(UNEVEN),
        (volume_ml(UNEVEN),),
        (23,),
        1,
        flags=frozenset({"uneven_spacing"}),
    ),
    "recentred": Situation(recentred(lambda number: number >= 12), *PLAIN),
    "recentred_alternately": Situation(recentred(lambda number: number % 2 == 1), *PLAIN),
    "empty_slice": Situation(
        empty_slice, (INTERRUPTED_ML,), (19,), 1, flags=frozenset({"gland_interrupted"})
    ),
    "noise_at_the_end": Situation(
        noise_at_the_end, (FULL_ML,), (19,), 1, flags=END | frozenset({"objects_removed"})
    ),
    "partial": Situation(enlarged, (None,), (14,), 1, flags=END),
    "damaged": Situation(
        damaged,
        (volume_ml([depth for depth in DEPTHS_MM if depth != 0.0]),),
        (18,),
        1,
        ("truncated",),
        frozenset({"rejected_slices", "missing_slices"}),
    ),
    "conflict": Situation(conflict, *PLAIN, ("conflict",), CONTESTED),
    "twins": Situation(twins, (None,), (19,), 1, ("conflict",) * 10, CONTESTED),
    "other_spacing": Situation(other_spacing, (None,), (19,), 1, ("conflict",) * 19, CONTESTED),
    "fuller_copy": Situation(fuller_copy, *PLAIN),
    "no_position": Situation(
        lambda study: study.volume(ImagePositionPatient=None),
        (None,),
        (19,),
        0,
        flags=LOST,
    ),
    "one_position": Situation(
        lambda study: study.volume(ImagePositionPatient=[0, 0, 0]),
        (None,),
        (19,),
        0,
        flags=LOST,
    ),
    "no_spacing": Situation(lambda study: study.volume(PixelSpacing=None), (None,), (19,), 0, flags=LOST),
    "computed_tomography": Situation(
        lambda study: study.volume(Modality="CT"), (None,), (19,), 0, flags=frozenset({"out_of_scope"})
    ),
    "part_lost": Situation(part_lost, HALVES[:1], (10,), 1, flags=frozenset({"missing_parts"})),
    "torn": Situation(torn(TemporalPositionIdentifier=(1, 2)), HALVES, (10, 9), 2, flags=TORN),
    "by_sop_class": Situation(
        lambda study: study.volume(Modality="", SOPClassUID=CTImageStorage),
        (None,),
        (19,),
        0,
        flags=frozenset({"out_of_scope"}),
    ),
}
