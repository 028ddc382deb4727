"""One image in several files: copies are dropped, other pixels under one SOP Instance UID are a conflict.

The first file found is the one that is used, and one that can be decoded before one that cannot. Files are
compared byte by byte; where they differ, by their decoded pixels, so that a copy may be compressed.
"""

from __future__ import annotations

import filecmp
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from stages.base import Reason
from stages.batches import Copied, Frame, Refused
from stages.ingest.decode import read_frames
from stages.ingest.faults import Refusal
from stages.ingest.options import IngestOptions
from stages.ingest.slices import Slice

_TOGETHER: Final = 32  # frames that are compared at a time


@dataclass
class Sorted:
    """What became of the files of a series."""

    kept: dict[bytes, Slice] = field(default_factory=dict)  # by record id
    set_aside: list[Refused | Copied] = field(default_factory=list)


def without_copies(
    known: Iterable[Slice], found: Iterable[Slice], elsewhere: Mapping[bytes, Slice], options: IngestOptions
) -> Sorted:
    """Each image of a series once.

    ``known`` are slices that are in use already and stay. A file whose images stand ``elsewhere``, in another
    series or in a file of an earlier run, is kept where the pixels are the same: this series wants it too.
    """
    result = Sorted({one.key: one for one in known})
    fixed = set(result.kept)
    for file in _files(found):
        here = [result.kept[one.key] for one in file if one.key in result.kept]
        there = [elsewhere[one.key] for one in file if one.key in elsewhere]
        if here:
            _again(result, file, here, options, may_swap=here[0].key not in fixed)
        elif there and (verdict := _compared(there, file, options)) is not None:
            result.set_aside.append(_refused(file, verdict))
        else:
            result.kept |= {one.key: one for one in file}
    return result


def _again(
    result: Sorted, file: list[Slice], here: list[Slice], options: IngestOptions, *, may_swap: bool
) -> None:
    """A file whose images are there already."""
    verdict = _compared(here, file, options)
    if verdict is None:
        result.set_aside.append(Copied(file[0].place.path, len(file)))
        return
    if may_swap and verdict.reason is Reason.CONFLICT and (broken := _unreadable(here, options)):
        result.set_aside.append(_refused(here, broken))
        for one in here:
            del result.kept[one.key]
        result.kept |= {one.key: one for one in file}
        return
    result.set_aside.append(_refused(file, verdict))


def _files(slices: Iterable[Slice]) -> list[list[Slice]]:
    files: dict[str, list[Slice]] = {}
    for one in slices:
        files.setdefault(one.place.path, []).append(one)
    return list(files.values())


def _compared(first: Sequence[Slice], second: Sequence[Slice], options: IngestOptions) -> Refusal | None:
    """Why the second file is not used; None where it is a copy of the first."""
    paths = (first[0].place.path, second[0].place.path)
    if _same_bytes(*paths):
        return None
    whole = len(first) == len(second) == first[0].frames
    if whole and _same_pixels({one.key: one for one in first}, second, options):
        return None
    detail = f"Its SOP Instance UID is that of {paths[0]}, whose pixels are others."
    return _unreadable(second, options) or Refusal(Reason.CONFLICT, detail)


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
