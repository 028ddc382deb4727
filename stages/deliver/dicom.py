"""DICOM sources: headers read again, and whether the planes of a stack have the geometry of one volume.

Geometry is that of PS3.3 C.7.6.2 (image plane) and C.7.6.16.2 (its functional groups in multi-frame
objects). A value that is missing or malformed is unknown; nothing here raises over a header. The order of
the planes is that of the rows: ingest has sorted them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.tag import BaseTag

from stages.deliver.extent import gaps_mm, repeated
from stages.deliver.planes import Plane, SegmentedFrame, Stack, by_file
from stages.ingest.elements import numbers, text
from stages.ingest.faults import BadData, reading
from stages.ingest.functional import macro, spacing_fault, spacing_mm
from stages.ingest.functional import orientation as orientation_of
from stages.ingest.functional import position as position_of
from stages.ingest.modality import modalities

_PIXEL_MEASURES: Final = BaseTag(0x00289110)
_BETWEEN_SLICES: Final = BaseTag(0x00180088)
_THICKNESS: Final = BaseTag(0x00180050)
_FRAMES: Final = BaseTag(0x00280008)
_FRAME_OF_REFERENCE: Final = BaseTag(0x00200052)
PARALLEL: Final = 0.999  # cosine; ingest puts what is tilted further into a stack of its own
SPACING_ALIKE: Final = 0.02  # relative, as above
RIGHT_ANGLE: Final = 0.02  # largest cosine between a row and a column of a sound header


def read_stack(rows: Sequence[SegmentedFrame]) -> tuple[Stack, dict[bytes, str]]:
    """The stack in the order of its rows, and for each key that has no plane the sentence why."""
    planes: dict[bytes, Plane] = {}
    failed: dict[bytes, str] = {}
    for path, results in by_file(rows).items():
        try:
            with reading():
                header = dcmread(path, stop_before_pixels=True, force=True)
                shape = (int(header.Rows), int(header.Columns))
        except BadData as bad:
            failed |= {row.key: f"The source cannot be read again. {bad.refusal.detail}" for row in results}
            continue
        for row in results:
            if row.mask.shape == shape:
                planes[row.key] = _plane(row, header)
            else:
                failed[row.key] = "The source has other rows and columns than when it was segmented."
    return _stack([planes[row.key] for row in rows if row.key in planes], rows), failed


def _stack(planes: Sequence[Plane], rows: Sequence[SegmentedFrame]) -> Stack:
    if not planes:
        return Stack(rows[0].stack, ())
    planes = _in_one_frame(planes)
    normal = _normal(planes[0])
    placed = tuple(replace(plane, depth_mm=_depth_mm(plane, normal)) for plane in planes)
    tilt = None if normal is None else math.degrees(math.acos(min(1.0, abs(float(normal[2])))))
    named = sorted({one for plane in planes for one in modalities(plane.header)})
    stack = Stack(
        rows[0].stack,
        placed,
        stated_gap_mm(planes[0]),
        _median(planes, _BETWEEN_SLICES),
        _median(planes, _THICKNESS),
        tilt,
        tuple(named),
    )
    return replace(stack, lack=_lack(stack))


def _in_one_frame(planes: Sequence[Plane]) -> Sequence[Plane]:
    """Planes that state no frame of reference are in the one that all others state, as ingest took them."""
    stated = {text(plane.header, _FRAME_OF_REFERENCE) for plane in planes}
    if len(stated - {""}) != 1 or "" not in stated:
        return planes
    (uid,) = stated - {""}
    filled = []
    for plane in planes:
        header = copy(plane.header)
        header.FrameOfReferenceUID = uid
        filled.append(replace(plane, header=header))
    return filled


def _plane(result: SegmentedFrame, header: Dataset) -> Plane:
    frame = result.place.frame
    spacing = spacing_mm(header, frame)
    area = None if spacing is None else spacing[0] * spacing[1]
    position = position_of(header, frame)
    corner = None if position is None else np.array(position)
    return Plane(result, spacing, area, None, header, corner, orientation_of(header, frame))


def _normal(plane: Plane) -> NDArray[np.float64] | None:
    """The unit normal; None where the cosines are missing or are no right angle."""
    if plane.orientation is None:
        return None
    cosines = np.array(plane.orientation, np.float64)
    with np.errstate(all="ignore"):  # a header may hold any number
        row, column = (part / np.linalg.norm(part) for part in (cosines[:3], cosines[3:]))
        normal = np.cross(row, column)
        sound = abs(float(row @ column)) <= RIGHT_ANGLE
    return normal / np.linalg.norm(normal) if sound else None


def _depth_mm(plane: Plane, normal: NDArray[np.float64] | None) -> float | None:
    if plane.position_mm is None or normal is None:
        return None
    return float(normal @ plane.position_mm)


def thickness_mm(plane: Plane) -> float | None:
    """Slice Thickness as the source states it, where it is positive."""
    return _positive(plane, _THICKNESS)


def stated_gap_mm(plane: Plane) -> float | None:
    """What a single slice stands for: the larger of Spacing Between Slices and Slice Thickness; positive.

    Some vendors state the gap between the edges as the former; overlapping slices are thicker than it.
    """
    stated = (_positive(plane, tag) for tag in (_BETWEEN_SLICES, _THICKNESS))
    return max((value for value in stated if value is not None), default=None)


def _positive(plane: Plane, tag: BaseTag) -> float | None:
    measures = macro(plane.header, plane.result.place.frame, _PIXEL_MEASURES)
    (value,) = numbers(measures, tag, 1) or (0.0,)
    return value if value > 0 else None


def _median(planes: Sequence[Plane], tag: BaseTag) -> float | None:
    values = [value for plane in planes if (value := _positive(plane, tag)) is not None]
    return float(np.median(values)) if values else None


def _lack(stack: Stack) -> str:
    """What keeps the planes from being one volume in one frame of reference; empty where nothing does."""
    planes = stack.planes
    references = {text(plane.header, _FRAME_OF_REFERENCE) for plane in planes}
    normals = [normal for plane in planes if (normal := _normal(plane)) is not None]
    spacings = [plane.spacing_mm for plane in planes if plane.spacing_mm is not None]
    depths = [plane.depth_mm for plane in planes if plane.depth_mm is not None]
    count = len(planes)
    checks: tuple[tuple[Callable[[], bool], str], ...] = (
        (lambda: "" in references, "The source states no frame of reference."),
        (lambda: any(plane.position_mm is None for plane in planes), "The source states no positions."),
        (lambda: len(normals) < count, "The source states no sound orientation of its slices."),
        (lambda: len(spacings) < count, _first_without_spacing(planes)),
        (lambda: len(references) > 1, "The slices are in several frames of reference."),
        (lambda: len({plane.result.mask.shape for plane in planes}) > 1, "The slices are of several sizes."),
        (lambda: any(float(one @ normals[0]) < PARALLEL for one in normals), "The slices are not parallel."),
        (
            lambda: not np.allclose(spacings, spacings[0], rtol=SPACING_ALIKE),
            "The slices have several pixel spacings.",
        ),
        (lambda: count > 1 and repeated(gaps_mm(depths)), "Several slices have one position."),
    )
    return next((lack for fails, lack in checks if fails()), "")


def _first_without_spacing(planes: Sequence[Plane]) -> str:
    """Of the first plane that has none; empty where all have one."""
    return next(
        (
            spacing_fault(plane.header, plane.result.place.frame)
            for plane in planes
            if plane.spacing_mm is None
        ),
        "",
    )


def is_multiframe(header: Dataset) -> bool:
    """Whether the object is one that holds frames, be it a single one."""
    (count,) = numbers(header, _FRAMES, 1) or (1.0,)
    return "PerFrameFunctionalGroupsSequence" in header or count > 1
