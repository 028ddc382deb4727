"""What a reader of a result must know before the number is used: a closed list of flags.

Each caveat is of one stack, or of the whole delivery; it has a sentence, its numbers, and whether a person
should look at the series because of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np

from stages.deliver.extent import (
    depths_mm,
    gaps_mm,
    pixels,
    removed,
    repeated,
    usual_mm,
    usual_near_mm,
    volume_ml,
)
from stages.deliver.options import DeliverOptions
from stages.deliver.planes import Plane, Stack
from stages.doubt import Doubt
from stages.ingest.geometry import AXIAL_DEGREES
from stages.places import FileKind

WIDE: Final = 1.5  # of the usual distance: in a wider gap a slice is missing
EVEN: Final = 0.1  # of the usual distance: distances that differ by less are even
SPARSE_MM: Final = 10.0  # a prostate is some 40 mm long: it lies on three or four slices then
STRAY: Final = 0.05  # of what is kept: a network adds that much here and there
NOVEL_AREA: Final = 0.25  # of the mask; one slice in twenty of an ordinary patient is novel
DIGITS: Final = 3  # of millimetres and degrees in a sentence


class Flag(StrEnum):
    """Why a result needs care. Closed, so that programs can rely on it."""

    MISSING_SLICES = "missing_slices"  # a gap of more than 1.5 distances usual there
    UNEVEN_SPACING = "uneven_spacing"  # distances that differ by more than a tenth
    SPACING_DISAGREES = "spacing_disagrees"  # distances are a multiple or a fraction of the stated
    SPARSE_SLICES = "sparse_slices"  # too far apart for the volume of a prostate, as in a scout
    REJECTED_SLICES = "rejected_slices"  # the source holds them, the result does not
    GLAND_AT_END = "gland_at_end"  # on the first or last slice: the rest may lie outside
    GLAND_INTERRUPTED = "gland_interrupted"  # slices without mask between slices with it
    OBJECTS_REMOVED = "objects_removed"  # stray, as smaller than the largest, but not small
    ONE_SLICE = "one_slice"  # no neighbour
    DIVIDED_BY_ORDER = "divided_by_order"  # images of one place, separated by numbers or times alone
    NOT_PARALLEL = "not_parallel"  # a plane of a fan: no volume
    NO_GEOMETRY = "no_geometry"  # no DICOM Segmentation, or no volume, for want of geometry
    GEOMETRY_NOTE = "geometry_note"  # statements that disagree, and which one was taken
    NOT_AXIAL = "not_axial"  # the model learned from axial slices
    OUT_OF_DISTRIBUTION = "out_of_distribution"  # too many slices out of distribution
    MASK_OUT_OF_DISTRIBUTION = "mask_out_of_distribution"  # much of the mask lies on such slices
    OUT_OF_SCOPE = "out_of_scope"  # a modality that the product is not for
    FEWER_SLICES = "fewer_slices"  # than an earlier result, which stays the current one
    INTERLEAVED_STACKS = "interleaved_stacks"  # slices evenly between those of another stack
    MISSING_PARTS = "missing_parts"  # of a concatenation
    CONFLICTING_IMAGES = "conflicting_images"  # two images of one identifier, of which one was taken


TEXTS: Final[Mapping[Flag, str]] = {
    Flag.MISSING_SLICES: "Gaps wider than {wide:g} times the usual {usual_mm:g} mm have room for slices: "
    "{slices}. The widest gap is {widest_mm:g} mm.",
    Flag.UNEVEN_SPACING: "The distance between slices varies from {least_mm:g} to {most_mm:g} mm.",
    Flag.SPACING_DISAGREES: "Slices lie {usual_mm:g} mm apart, but state {stated_mm:g} mm: "
    "some may be missing, or of two stacks.",
    Flag.SPARSE_SLICES: "Slices lie {usual_mm:g} mm apart: a volume from them is rough.",
    Flag.REJECTED_SLICES: "Slices that the source holds and this result lacks: {slices} of {of}.",
    Flag.GLAND_AT_END: "The prostate reaches the {end} slice: a part of it may lie outside.",
    Flag.GLAND_INTERRUPTED: "Slices without prostate between slices with it: {slices}. "
    "The prostate may be there and not found.",
    Flag.OBJECTS_REMOVED: "Objects apart from the largest were removed, on slices: {slices}. "
    "They had {percent:g} % of the size of what is kept, and may be the prostate or a part of it.",
    Flag.ONE_SLICE: "There is one slice only.",
    Flag.DIVIDED_BY_ORDER: "Only the order of numbers or times tells images of one place apart: "
    "some may belong elsewhere.",
    Flag.NOT_PARALLEL: "The planes of the series are turned against each other, as in a fan: "
    "they have no volume.",
    Flag.NO_GEOMETRY: "{why}",
    Flag.GEOMETRY_NOTE: "{why}",
    Flag.NOT_AXIAL: "The slices are {degrees:g} degrees off axial; the model learned from axial slices.",
    Flag.OUT_OF_DISTRIBUTION: "Out of distribution: {slices} of {of} slices. Do not rely on them.",
    Flag.MASK_OUT_OF_DISTRIBUTION: "Slices out of distribution hold {percent:g} % of the outlined area.",
    Flag.OUT_OF_SCOPE: "The modality is {modality}; in scope is {modalities}. Do not use the result.",
    Flag.FEWER_SLICES: "Slices that version {version} has and this one lacks: {slices}. "
    "Version {version} stays the result of the series.",
    Flag.INTERLEAVED_STACKS: "The slices lie evenly between those of another stack of the series: "
    "both may be one volume.",
    Flag.MISSING_PARTS: "Parts that the concatenation of the source states and this result lacks: "
    "{parts} of {of}.",
    Flag.CONFLICTING_IMAGES: "Slices of which the source holds a second, different image under the same "
    "identifier: {slices} of {of}. The dead letters name the files.",
}


@dataclass(frozen=True, slots=True)
class Caveat:
    """One flag with what it was found from."""

    flag: Flag
    review: bool = True  # a person should look
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """One sentence or two."""
        return TEXTS[self.flag].format(**self.numbers, wide=WIDE)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"flag": self.flag.value, "text": self.text, "review": self.review} | dict(self.numbers)


def of_stack(stack: Stack, options: DeliverOptions) -> tuple[Caveat, ...]:
    """What was found of one stack, in the order of the flags' list."""
    if not stack.planes:
        return ()
    picture = stack.planes[0].result.place.kind is FileKind.RASTER
    found = [*(() if picture else _of_volume(stack)), *_of_any(stack, options)]
    order = list(Flag)
    return tuple(sorted(found, key=lambda caveat: order.index(caveat.flag)))


def fewer(slices: int, version: int) -> Caveat:
    """The delivery lacks slices of the result that lies there."""
    return Caveat(Flag.FEWER_SLICES, numbers={"slices": slices, "version": version})


def has(caveats: Sequence[Caveat], flag: Flag) -> bool:
    """Whether the flag is among the caveats."""
    return any(caveat.flag is flag for caveat in caveats)


def to_review(caveats: Sequence[Caveat]) -> bool:
    """Whether a person should look; not at what is out of scope, since nothing of it is to be used."""
    return any(caveat.review for caveat in caveats) and not has(caveats, Flag.OUT_OF_SCOPE)


def out_of_distribution(plane: Plane) -> bool | None:
    """Whether the slice is out of the training images' distribution; None where that is unknown."""
    return None if math.isnan(plane.result.novelty) else plane.result.novelty > 1


def _of_volume(stack: Stack) -> Iterator[Caveat]:
    """Caveats about slices that lie one behind the other in a body."""
    found = [pixels(plane) > 0 for plane in stack.planes]
    ends = [name for name, here in (("first", found[0]), ("last", found[-1])) if here]
    if len(found) == 1:
        yield Caveat(Flag.ONE_SLICE, any(found))
    elif ends:
        yield Caveat(Flag.GLAND_AT_END, numbers={"end": " and the ".join(ends)})
    inside = np.flatnonzero(found)
    if inside.size and (empty := int(np.ptp(inside)) + 1 - inside.size):
        yield Caveat(Flag.GLAND_INTERRUPTED, numbers={"slices": empty})
    if stack.tilt_degrees is not None and stack.tilt_degrees > AXIAL_DEGREES:
        yield Caveat(Flag.NOT_AXIAL, any(found), {"degrees": round(stack.tilt_degrees, 1)})
    if stack.note:
        yield Caveat(Flag.GEOMETRY_NOTE, numbers={"why": stack.note})
    depths = depths_mm(stack)
    if depths is not None and len(depths) > 1 and not repeated(gaps_mm(depths)):
        yield from _of_distances(depths)
        gaps = gaps_mm(depths)
        usual = usual_mm(gaps)
        if (abs(gaps - usual) <= EVEN * usual).all():
            yield from _of_statements(stack, usual)
        if usual > SPARSE_MM:
            yield Caveat(Flag.SPARSE_SLICES, any(found), {"usual_mm": round(usual, DIGITS)})


def _of_distances(depths: Sequence[float]) -> Iterator[Caveat]:
    gaps = gaps_mm(depths)
    usual, near = usual_mm(gaps), usual_near_mm(gaps)
    wide = gaps > WIDE * near
    if wide.any():
        room = np.maximum(np.round(gaps[wide] / near[wide]) - 1, 1)
        widest = int(np.argmax(np.where(wide, gaps, 0)))
        numbers = {
            "slices": int(room.sum()),
            "usual_mm": round(float(near[widest]), DIGITS),
            "widest_mm": round(float(gaps[widest]), DIGITS),
        }
        yield Caveat(Flag.MISSING_SLICES, numbers=numbers)
    if (abs(gaps - usual) > EVEN * usual).any():
        least, most = round(float(gaps.min()), DIGITS), round(float(gaps.max()), DIGITS)
        yield Caveat(Flag.UNEVEN_SPACING, numbers={"least_mm": least, "most_mm": most})


def _of_statements(stack: Stack, usual: float) -> Iterator[Caveat]:
    """Slices that are missing evenly, or lie evenly between those of another stack, leave even distances.

    Then only Spacing Between Slices tells. Some vendors put the gap between the edges there: a small one that
    adds up with the thickness is none of this kind. Thickness alone tells nothing: gaps are common.
    """
    stated, thickness = stack.between_mm, stack.thickness_mm
    if stated is None:
        return
    ratio = max(usual / stated, stated / usual)
    is_gap = (
        thickness is not None
        and stated < thickness / 2
        and math.isclose(thickness + stated, usual, rel_tol=EVEN)
    )
    if round(ratio) > 1 and abs(ratio - round(ratio)) <= EVEN and not is_gap:
        numbers = {"usual_mm": round(usual, DIGITS), "stated_mm": round(stated, DIGITS)}
        yield Caveat(Flag.SPACING_DISAGREES, numbers=numbers)


def _of_any(stack: Stack, options: DeliverOptions) -> Iterator[Caveat]:
    """Caveats about any slices."""
    count = len(stack.planes)
    if stack.id.slices > count:
        numbers = {"slices": stack.id.slices - count, "of": stack.id.slices}
        yield Caveat(Flag.REJECTED_SLICES, numbers=numbers)
    if stack.id.doubt is Doubt.ORDER:
        yield Caveat(Flag.DIVIDED_BY_ORDER)
    if stack.id.doubt is Doubt.INTERLOCKED:
        yield Caveat(Flag.INTERLEAVED_STACKS)
    if stack.id.doubt is Doubt.TURNED:
        yield Caveat(Flag.NOT_PARALLEL)
    if stack.lack:
        picture = stack.planes[0].result.place.kind is FileKind.RASTER  # has none by its nature
        yield Caveat(Flag.NO_GEOMETRY, not picture, {"why": stack.lack})
    yield from _of_removed(stack)
    novel = sum(out_of_distribution(plane) is True for plane in stack.planes)
    area = sum(map(pixels, stack.planes))
    novel_area = sum(pixels(plane) for plane in stack.planes if out_of_distribution(plane))
    if novel_area > NOVEL_AREA * area:
        yield Caveat(Flag.MASK_OUT_OF_DISTRIBUTION, numbers={"percent": round(100 * novel_area / area)})
    if novel > options.out_of_distribution_share * count:
        yield Caveat(Flag.OUT_OF_DISTRIBUTION, numbers={"slices": novel, "of": count})
    if options.modalities and not set(stack.modalities) <= set(options.modalities):
        shown = (", ".join(names) for names in (stack.modalities, options.modalities))
        numbers_ = dict(zip(("modality", "modalities"), shown, strict=True))
        yield Caveat(Flag.OUT_OF_SCOPE, False, numbers_)
    if stack.id.conflicts:
        numbers = {"slices": stack.id.conflicts, "of": stack.id.slices}
        yield Caveat(Flag.CONFLICTING_IMAGES, numbers=numbers)


def _of_removed(stack: Stack) -> Iterator[Caveat]:
    gone_ml, kept_ml = volume_ml(stack, removed), volume_ml(stack)
    gone: float = sum(map(removed, stack.planes))
    kept: float = sum(map(pixels, stack.planes))
    if gone_ml is not None and kept_ml:
        gone, kept = gone_ml, kept_ml
    if gone > STRAY * kept:
        numbers = {
            "slices": sum(plane.removed > 0 for plane in stack.planes),
            "percent": round(100 * gone / kept),
            "removed_ml": gone_ml,
            "kept_ml": kept_ml,
        }
        yield Caveat(Flag.OBJECTS_REMOVED, numbers=numbers)
