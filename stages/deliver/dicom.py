"""DICOM sources: headers read again, planes ordered by position, cut into stacks that one SEG can hold.

Geometry is that of PS3.3 C.7.6.2 (image plane) and C.7.6.16.2 (its functional groups in multi-frame
objects). A value that is missing or malformed is unknown; nothing here raises over a header.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.multival import MultiValue

from stages.deliver.planes import Plane, SegmentedFrame, Stack, by_file
from stages.ingest.faults import BadData, reading
from stages.ingest.functional import orientation as orientation_of
from stages.ingest.functional import spacing_mm

POSITION_DIGITS: Final = 3  # of millimetres: closer planes are one place, imaged twice
ORIENTATION_DIGITS: Final = 4  # of direction cosines


def read_planes(results: Sequence[SegmentedFrame]) -> tuple[list[Plane], dict[bytes, str]]:
    """Planes in anatomical order, and for each key that has none the sentence why."""
    planes: list[Plane] = []
    failed: dict[bytes, str] = {}
    for path, rows in by_file(results).items():
        try:
            with reading():
                header = dcmread(path, stop_before_pixels=True, force=True)
                shape = (int(header.Rows), int(header.Columns))
        except BadData as bad:
            failed |= {row.key: f"The source cannot be read again. {bad.refusal.detail}" for row in rows}
            continue
        for row in rows:
            if row.mask.shape == shape:
                planes.append(_plane(row, header))
            else:
                failed[row.key] = "The source has other rows and columns than when it was segmented."
    return sorted(planes, key=_order), failed


def _plane(result: SegmentedFrame, header: Dataset) -> Plane:
    frame = result.place.frame
    spacing, orientation = spacing_mm(header, frame), orientation_of(header, frame)
    position = _numbers(header, frame, "PlanePositionSequence", "ImagePositionPatient", 3)
    return Plane(result, spacing, header, np.array(position) if position else None, orientation)


def _numbers(header: Dataset, frame: int, group: str, keyword: str, count: int) -> tuple[float, ...] | None:
    """The frame's value from its own functional group, the shared one or the top level; None if malformed."""
    try:
        holders = [header]
        for name, index in (
            ("SharedFunctionalGroupsSequence", 0),
            ("PerFrameFunctionalGroupsSequence", frame),
        ):
            items = header.get(name) or []
            if index < len(items) and items[index].get(group):
                holders.insert(0, items[index][group][0])
        found = next((holder[keyword].value for holder in holders if holder.get(keyword)), ())
        values = tuple(map(float, found if isinstance(found, MultiValue | tuple) else (found,)))
    except (ValueError, TypeError, AttributeError, KeyError, IndexError):
        return None
    return values if len(values) == count and all(map(math.isfinite, values)) else None


def distance_mm(plane: Plane) -> float | None:
    """Along the normal of the plane, from the origin of its frame of reference."""
    if plane.position_mm is None or plane.orientation is None:
        return None
    normal = np.cross(plane.orientation[:3], plane.orientation[3:])
    return float(normal @ plane.position_mm)


def _order(plane: Plane) -> tuple[tuple[float, ...], float, float, str, int]:
    """Planes of one orientation together and along their normal; the rest by number and name."""
    place = plane.result.place
    (number,) = _numbers(plane.header, 0, "", "InstanceNumber", 1) or (0.0,)
    return (_cosines(plane), distance_mm(plane) or 0.0, number, place.path, place.frame)


def _cosines(plane: Plane) -> tuple[float, ...]:
    return tuple(round(value, ORIENTATION_DIGITS) + 0.0 for value in plane.orientation or ())


def stacks(planes: Sequence[Plane]) -> list[Stack]:
    """Planes by what one SEG can hold, largest stack first.

    That is: one study, series, frame of reference, shape, orientation and spacing; one multi-frame object
    or any number of single-frame ones; every position once. Repeated positions (echoes, b-values) go to
    further stacks; a plane without position stands alone.
    """
    groups: dict[Hashable, list[Plane]] = defaultdict(list)
    seen: Counter[Hashable] = Counter()
    for plane in planes:
        header, place, distance = plane.header, plane.result.place, distance_mm(plane)
        names = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
        uids = tuple(str(header.get(name, "")) for name in names)
        alike = (uids, plane.result.mask.shape, _cosines(plane), plane.spacing_mm)
        if is_multiframe(header) or distance is None:
            groups[place.path, alike].append(plane)
        else:
            where = (alike, round(distance, POSITION_DIGITS))
            groups[seen[where], alike].append(plane)
            seen[where] += 1
    ordered = sorted(groups.values(), key=len, reverse=True)
    return [Stack(tuple(group), gap_mm(group)) for group in ordered]


def is_multiframe(header: Dataset) -> bool:
    """Whether the object is one that holds frames, be it a single one."""
    return "PerFrameFunctionalGroupsSequence" in header or number_of_frames(header) > 1


def number_of_frames(header: Dataset) -> int:
    """As the header has it; 1 where it says nothing useful."""
    (count,) = _numbers(header, 0, "", "NumberOfFrames", 1) or (1.0,)
    return max(1, int(count))


def gap_mm(planes: Sequence[Plane]) -> float | None:
    """Between neighbouring planes: the median of what positions say, else what the header states."""
    distances = sorted(distance for plane in planes if (distance := distance_mm(plane)) is not None)
    if len(distances) == len(planes) > 1:
        # The median, because a rejected slice leaves a gap of twice the distance.
        return float(np.median(np.diff(distances))) or None
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        first = planes[0]
        stated = _numbers(first.header, first.result.place.frame, "PixelMeasuresSequence", keyword, 1)
        if stated and stated[0] > 0:
            return stated[0]
    return None
