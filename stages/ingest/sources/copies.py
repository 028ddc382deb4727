"""One image in several files: copies are dropped, another image under one SOP Instance UID is a conflict.

Files are compared byte by byte; where they differ, by the geometry that their headers state and by their
decoded pixels, so that a copy may be compressed. Of copies the one that states most of its geometry is used,
else the first; a file that can be decoded comes before one that cannot. In a conflict nothing tells which
image is right: the first one stays and is marked, so that the result says so. Leaving out both would let one
stray file take a slice from a sound series, and a volume would bridge the hole.
"""

from __future__ import annotations

import filecmp
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from stages.base import Reason
from stages.batches import Copied, Frame, Refused
from stages.ingest.decode import read_frames
from stages.ingest.faults import Refusal
from stages.ingest.likeness import contradiction, geometry
from stages.ingest.options import IngestOptions
from stages.ingest.slices import Slice

_TOGETHER: Final = 32  # frames that are compared at a time


@dataclass
class Sorted:
    """What became of the files of a series."""

    kept: dict[bytes, Slice] = field(default_factory=dict)  # by record id
    set_aside: list[Refused | Copied] = field(default_factory=list)
    contested: set[bytes] = field(default_factory=set)  # record ids that two images have


def without_copies(
    known: Iterable[Slice],
    found: Iterable[Slice],
    elsewhere: Mapping[bytes, Slice],
    options: IngestOptions,
    earlier: Mapping[bytes, Slice] | None = None,
) -> Sorted:
    """Each image of a series once.

    ``known`` are slices that are in use already. A file whose images stand ``elsewhere``, in another series,
    is kept where it is a copy: this series wants it too. So is one that an ``earlier`` run found in another
    file, unless that file states more of the geometry: it is used then.
    """
    result = Sorted({one.key: one for one in known})
    earlier = earlier or {}
    fixed = set(result.kept)
    for file in files(found):
        here = [result.kept[one.key] for one in file if one.key in result.kept]
        before = [earlier[one.key] for one in file if one.key in earlier]
        there = before or [elsewhere[one.key] for one in file if one.key in elsewhere]
        if here:
            _again(result, file, here, options, may_swap=here[0].key not in fixed)
        elif there and (verdict := _compared(there, file, options)) is not None:
            refuse(result, file, verdict)
        elif before and _stated(before) > _stated(file):
            result.set_aside.append(Copied(file[0].place.path, len(file)))
        else:
            result.kept |= {one.key: one for one in file}
    return result


def _again(
    result: Sorted, file: list[Slice], here: list[Slice], options: IngestOptions, *, may_swap: bool
) -> None:
    """A file whose images are there already."""
    verdict = _compared(here, file, options)
    if verdict is None and _stated(file) > _stated(here):
        result.set_aside.append(Copied(here[0].place.path, len(here)))
        again = here[0].again
        result.kept |= {one.key: replace(one, again=again) for one in file}
    elif verdict is None:
        result.set_aside.append(Copied(file[0].place.path, len(file)))
    elif may_swap and verdict.reason is Reason.CONFLICT and (broken := _unreadable(here, options)):
        result.set_aside.append(_refused(here, broken))
        for one in here:
            del result.kept[one.key]
        result.kept |= {one.key: one for one in file}
    else:
        refuse(result, file, verdict)


def refuse(result: Sorted, file: Sequence[Slice], verdict: Refusal) -> None:
    """Set a file aside; in a conflict its record ids are contested."""
    result.set_aside.append(_refused(file, verdict))
    if verdict.reason is Reason.CONFLICT:
        result.contested |= {one.key for one in file}


def _stated(file: Sequence[Slice]) -> int:
    """How much of their geometry the frames state."""
    return sum(geometry(one).stated for one in file)


def files(slices: Iterable[Slice]) -> list[list[Slice]]:
    """The slices of each file."""
    by_path: dict[str, list[Slice]] = {}
    for one in slices:
        by_path.setdefault(one.place.path, []).append(one)
    return list(by_path.values())


def _compared(first: Sequence[Slice], second: Sequence[Slice], options: IngestOptions) -> Refusal | None:
    """Why the second file is not used; None where it is a copy of the first."""
    paths = (first[0].place.path, second[0].place.path)
    if _same_bytes(*paths):
        return None
    by_key = {one.key: one for one in first}
    whole = len(first) == len(second) == first[0].frames
    if whole and (part := _contradiction(by_key, second)):
        detail = f"Its SOP Instance UID is that of {paths[0]}, whose {part} is another."
        return Refusal(Reason.CONFLICT, detail)
    if whole and _same_pixels(by_key, second, options):
        return None
    detail = f"Its SOP Instance UID is that of {paths[0]}, whose pixels are others."
    return _unreadable(second, options) or Refusal(Reason.CONFLICT, detail)


def _contradiction(first: Mapping[bytes, Slice], second: Sequence[Slice]) -> str:
    """What of the geometry the headers state differently; empty where nothing is."""
    parts = (contradiction(geometry(first[one.key]), geometry(one)) for one in second)
    return next(filter(None, parts), "")


def _same_bytes(first: str, second: str) -> bool:
    try:
        return filecmp.cmp(first, second, shallow=False)
    except OSError:
        return False


def _unreadable(slices: Sequence[Slice], options: IngestOptions) -> Refusal | None:
    """Why the file's first frame that cannot be decoded cannot be; None where all can."""
    for some in _batched(slices):
        for frame in read_frames([one.place for one in some], options):
            if isinstance(frame, Refusal):
                return frame
    return None


def _same_pixels(first: Mapping[bytes, Slice], second: Sequence[Slice], options: IngestOptions) -> bool:
    for some in _batched(second):
        ones = read_frames([first[one.key].place for one in some], options)
        others = read_frames([one.place for one in some], options)
        if not all(_equal(one, other) for one, other in zip(ones, others, strict=True)):
            return False
    return True


def _equal(one: Frame | Refusal, other: Frame | Refusal) -> bool:
    if not (isinstance(one, Frame) and isinstance(other, Frame)):
        return False
    exact = one.image.dtype.kind in "iu"
    return bool(np.array_equal(one.image, other.image, equal_nan=not exact))


def _batched(slices: Sequence[Slice]) -> Iterator[Sequence[Slice]]:
    """A few at a time: a file is opened once for them, and few frames are in memory."""
    return (slices[low : low + _TOGETHER] for low in range(0, len(slices), _TOGETHER))


def _refused(file: Sequence[Slice], refusal: Refusal) -> Refused:
    return Refused(file[0].place.path, file[0].key, refusal.reason, refusal.detail)
