"""What tells one acquisition of a frame's place from another: image type, b-value, echo, phase and so on.

The values are marks: compared for equality and sorted, never computed with. They come from the top of the
object or from the frame's functional groups (PS3.3 section C.7.6.16); one that is missing or damaged is "".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from stages.ingest.elements import text
from stages.ingest.faults import BadData, reading
from stages.ingest.functional import has, items, macro

_CONTENT: Final = BaseTag(0x00209111)
_FRAME_TYPES: Final = (BaseTag(0x00189226), BaseTag(0x00189329))  # of MR and of CT
_DIFFUSION: Final = BaseTag(0x00189117)
_GRADIENT: Final = BaseTag(0x00189076)
_ECHO: Final = BaseTag(0x00189114)
_CARDIAC: Final = BaseTag(0x00189118)
_TEMPORAL: Final = BaseTag(0x00209310)
_DIMENSIONS: Final = BaseTag(0x00209222)
_POINTER: Final = BaseTag(0x00209165)
_INDICES: Final = BaseTag(0x00209157)
_IMAGE_TYPE: Final = BaseTag(0x00080008)
_FRAME_TYPE: Final = BaseTag(0x00089007)
_COMPONENT: Final = BaseTag(0x00089208)
_STACK: Final = BaseTag(0x00209056)
_B_VALUES: Final = tuple(map(BaseTag, (0x00189087, 0x0019100C, 0x00431039, 0x20011003)))  # standard, vendors'
_DIRECTION: Final = BaseTag(0x00189089)
_ECHO_NUMBER: Final = BaseTag(0x00180086)
_ECHO_TIMES: Final = (BaseTag(0x00189082), BaseTag(0x00180081))
_INVERSION_TIME: Final = BaseTag(0x00180082)
_TEMPORAL_POSITIONS: Final = (BaseTag(0x00209128), BaseTag(0x00200100))
_TIME_OFFSET: Final = BaseTag(0x0020930D)
_PHASES: Final = tuple(map(BaseTag, (0x00209153, 0x00209252, 0x00181060)))
_NUMBERS: Final = (BaseTag(0x00209156), BaseTag(0x00200012))
_STARTS: Final = tuple(map(BaseTag, (0x00189074, 0x0008002A, 0x00080032)))
_CONTENT_TIME: Final = BaseTag(0x00080033)
# What a dimension is indexed by where it is the place itself: position in the stack, position, and stack.
_PLACES: Final = frozenset({0x00209057, 0x00200032, 0x00209056, 0x00209113, 0x00209111})
_PLAIN: Final = ("CS", "DA", "TM")
_ONE_NUMBER: Final = re.compile(rb" *[+-]?\d+(\.\d*)? *")
ACQUISITION_TAGS: Final = (
    *(_IMAGE_TYPE, _COMPONENT, *_B_VALUES, _DIRECTION, _ECHO_NUMBER, *_ECHO_TIMES, _INVERSION_TIME),
    *(_TEMPORAL_POSITIONS[1], *_PHASES, _NUMBERS[1], *_STARTS[1:], _CONTENT_TIME, _DIMENSIONS),
)


class Acquisition(NamedTuple):
    """The marks of one frame, in the order in which they explain why a place was imaged twice."""

    image_type: str = ""
    stack: str = ""
    b_value: str = ""
    gradient: str = ""
    echo: str = ""
    echo_time: str = ""
    inversion_time: str = ""
    temporal_position: str = ""
    phase: str = ""
    number: str = ""
    dimensions: str = ""
    time: str = ""
    content_time: str = ""


UNMARKED: Final = Acquisition()


def acquisition(dataset: Dataset, frame: int) -> Acquisition:
    """The marks of a frame, numbered from 0."""
    content = macro(dataset, frame, _CONTENT)
    diffusion = macro(dataset, frame, _DIFFUSION)
    gradient = items(diffusion, _GRADIENT)
    temporal = (macro(dataset, frame, _TEMPORAL), (_TIME_OFFSET,))
    return Acquisition(
        image_type=_image_type(dataset, frame),
        stack=_first(content, (_STACK,)),
        b_value=_first(diffusion, _B_VALUES),
        gradient=_first(gradient[0] if gradient else dataset, (_DIRECTION,)),
        echo=_first(dataset, (_ECHO_NUMBER,)),
        echo_time=_first(macro(dataset, frame, _ECHO), _ECHO_TIMES),
        inversion_time=_first(dataset, (_INVERSION_TIME,)),
        temporal_position=_first(content, _TEMPORAL_POSITIONS) or _first(*temporal),
        phase=_first(macro(dataset, frame, _CARDIAC), _PHASES),
        number=_first(content, _NUMBERS),
        dimensions=_other_dimensions(dataset, content),
        time=_first(content, _STARTS),
        content_time=_first(dataset, (_CONTENT_TIME,)),
    )


def _image_type(dataset: Dataset, frame: int) -> str:
    """Values of ImageType or FrameType, and which component of a complex signal it is."""
    for tag in _FRAME_TYPES:
        group = macro(dataset, frame, tag)
        if group is not dataset:
            return "\\".join((_first(group, (_FRAME_TYPE,)), _first(group, (_COMPONENT,)))).strip("\\")
    return "\\".join((_first(dataset, (_IMAGE_TYPE,)), _first(dataset, (_COMPONENT,)))).strip("\\")


def _other_dimensions(dataset: Dataset, content: Dataset) -> str:
    """The frame's indices along the dimensions that are not places (PS3.3 section C.7.6.17)."""
    pointers = [_value(item, _POINTER) for item in items(dataset, _DIMENSIONS)]
    indices = _first(content, (_INDICES,)).split("\\")
    if len(indices) != len(pointers):
        return ""
    pairs = zip(indices, pointers, strict=True)
    return "\\".join(index for index, pointer in pairs if pointer not in _PLACES)


def _first(dataset: Dataset, tags: Iterable[BaseTag]) -> str:
    """The first of the elements that has a value, its values joined as DICOM joins them."""
    for tag in tags:
        if not has(dataset, tag):
            continue
        if (plain := _plain(dataset.get_item(tag))) is not None:
            if plain:
                return plain
            continue
        value = _value(dataset, tag)
        if isinstance(value, str | bytes):
            shown = text(dataset, tag) if isinstance(value, str) else value.hex()
        elif isinstance(value, int | float) or value is None:
            shown = "" if value is None else f"{value:.9g}"
        else:
            shown = "\\".join(str(one) for one in value)  # type: ignore[attr-defined]  # pydicom's MultiValue
        if shown:
            return shown
    return ""


def _plain(element: object) -> str | None:
    """What ``_first`` makes of the commonest raw values; None for any other.

    Without pydicom's conversion, which costs a scan more than parsing the header.
    """
    if not isinstance(element, RawDataElement) or not isinstance(element.value, bytes):
        return None
    if element.VR in _PLAIN:
        return element.value.decode("latin-1").rstrip(" \0")
    if element.VR == "DS" and _ONE_NUMBER.fullmatch(element.value):
        return f"{float(element.value):.9g}"
    return None


def _value(dataset: Dataset, tag: BaseTag) -> object:
    """The element's value as pydicom converts it; None where it is missing or cannot be converted."""
    if not has(dataset, tag):
        return None
    try:
        with reading():
            value: object = dataset[tag].value
    except BadData:
        return None
    return value
