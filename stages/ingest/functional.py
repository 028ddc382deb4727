"""Attributes that may stand at the top of an object or in its functional groups (PS3.3 section C.7.6.16).

Looked for frame by frame: in the frame's own group, in the shared group, then at the top.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydicom import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import BaseTag

from stages.ingest import geometry
from stages.ingest.elements import numbers, text
from stages.ingest.geometry import spacing

_SHARED: Final = BaseTag(0x52009229)
_PER_FRAME: Final = BaseTag(0x52009230)
_PIXEL_MEASURES: Final = BaseTag(0x00289110)
_PLANE_ORIENTATION: Final = BaseTag(0x00209116)
_PLANE_POSITION: Final = BaseTag(0x00209113)
_VALUE_TRANSFORMATION: Final = BaseTag(0x00289145)
_PIXEL_SPACING: Final = BaseTag(0x00280030)
_IMAGER_PIXEL_SPACING: Final = BaseTag(0x00181164)
_POSITION: Final = BaseTag(0x00200032)
_ORIENTATION: Final = BaseTag(0x00200037)
_NAMES: Final = {_PIXEL_SPACING: "Pixel Spacing", _IMAGER_PIXEL_SPACING: "Imager Pixel Spacing"}
_INTERCEPT: Final = BaseTag(0x00281052)
_SLOPE: Final = BaseTag(0x00281053)
_MODALITY_LUT: Final = BaseTag(0x00283000)
_LUT_DESCRIPTOR: Final = BaseTag(0x00283002)
_LUT_DATA: Final = BaseTag(0x00283006)
FUNCTIONAL_TAGS: Final = (
    _SHARED,
    _PER_FRAME,
    _PIXEL_SPACING,
    _IMAGER_PIXEL_SPACING,
    _ORIENTATION,
    _POSITION,
    _INTERCEPT,
    _SLOPE,
    _MODALITY_LUT,
)


def spacing_mm(dataset: Dataset, frame: int) -> tuple[float, float] | None:
    """Distance between pixel centres, row and column; that at the detector where nothing better is known.

    One value in place of two means square pixels.
    """
    stated = (_distances(holder, tag) for holder, tag in _spacing_places(dataset, frame))
    return next((found for one in stated if (found := spacing(one))), None)


def spacing_fault(dataset: Dataset, frame: int) -> str:
    """One sentence on why ``spacing_mm`` is None; empty where it is not. No text of the header is quoted."""
    if spacing_mm(dataset, frame) is not None:
        return ""
    for holder, tag in _spacing_places(dataset, frame):
        stated = _distances(holder, tag)
        if stated is not None:
            return f"The {_NAMES[tag]} of the source is {geometry.spacing_fault(stated)}."
        if text(holder, tag):
            return f"The {_NAMES[tag]} of the source is not one or two decimal numbers."
    return "The source states no pixel spacing."


def _spacing_places(dataset: Dataset, frame: int) -> tuple[tuple[Dataset, BaseTag], ...]:
    """Where a spacing may stand, the best first."""
    measures = macro(dataset, frame, _PIXEL_MEASURES)
    return (measures, _PIXEL_SPACING), (dataset, _IMAGER_PIXEL_SPACING)


def _distances(holder: Dataset, tag: BaseTag) -> tuple[float, ...] | None:
    square = numbers(holder, tag, 1)
    return numbers(holder, tag, 2) if square is None else square * 2


def orientation(dataset: Dataset, frame: int) -> tuple[float, ...] | None:
    """The direction cosines of a row and of a column."""
    return numbers(macro(dataset, frame, _PLANE_ORIENTATION), _ORIENTATION, 6)


def position(dataset: Dataset, frame: int) -> tuple[float, ...] | None:
    """Where the centre of the first pixel lies, LPS millimetres."""
    return numbers(macro(dataset, frame, _PLANE_POSITION), _POSITION, 3)


def rescale(dataset: Dataset, frame: int) -> tuple[float, float] | None:
    """Slope and intercept to modality units; None where there are none, ``nan`` where they are garbage."""
    group = macro(dataset, frame, _VALUE_TRANSFORMATION)
    if not text(group, _SLOPE) and not text(group, _INTERCEPT):
        return None
    values = (numbers(group, _SLOPE, 1), numbers(group, _INTERCEPT, 1))
    slope, intercept = (float("nan") if value is None else value[0] for value in values)
    return slope, intercept


def has_modality_lut(dataset: Dataset) -> bool:
    """Whether there is a table to modality units; writers also leave empty ones."""
    tables = items(dataset, _MODALITY_LUT)
    return bool(tables and text(tables[0], _LUT_DESCRIPTOR) and text(tables[0], _LUT_DATA))


def macro(dataset: Dataset, frame: int, tag: BaseTag) -> Dataset:
    """The first item of a functional group's macro; the object itself where there is none."""
    if not has(dataset, _PER_FRAME) and not has(dataset, _SHARED):
        return dataset
    for groups, index in ((_PER_FRAME, frame), (_SHARED, 0)):
        found = items(dataset, groups)
        macros = items(found[index], tag) if index < len(found) else ()
        if macros:
            return macros[0]
    return dataset


def has(dataset: Dataset, tag: BaseTag) -> bool:
    """Whether there is such an element; ``in dataset`` takes twenty times as long."""
    return tag in dataset.keys()  # noqa: SIM118


def items(dataset: Dataset, tag: BaseTag) -> Sequence[Dataset]:
    """The items of a sequence; empty if absent."""
    value = dataset[tag].value if has(dataset, tag) else None
    return value if isinstance(value, Items) else ()
