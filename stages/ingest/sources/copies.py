"""One image in several files: copies are dropped, other pixels under one SOP Instance UID are a conflict.

The first file found is the one that is used, and one that can be decoded before one that cannot. Files are
compared byte by byte; where they differ, by their decoded pixels, so that a copy may be compressed.
"""

from __future__ import annotations

import filecmp
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stages.base import Reason
from stages.batches import Copied, Frame, Refused
from stages.ingest.decode import read_frames
from stages.ingest.faults import Refusal
from stages.ingest.options import IngestOptions
from stages.ingest.slices import Slice


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
    broken = _unreadable(second, options)
    if broken:
        return broken
    pairs = {one.key: one for one in first}
    if len(first) == len(second) == first[0].frames and all(
        _same_pixels(pairs[one.key], one, options) for one in second
    ):
        return None
    detail = f"Its SOP Instance UID is that of {paths[0]}, whose pixels are others."
    return Refusal(Reason.CONFLICT, detail)


def _same_bytes(first: str, second: str) -> bool:
    try:
        return filecmp.cmp(first, second, shallow=False)
    except OSError:
        return False


def _unreadable(slices: Sequence[Slice], options: IngestOptions) -> Refusal | None:
    """Why the file's first frame that cannot be decoded cannot be; None where all can."""
    for one in slices:
        (frame,) = read_frames([one.place], options)
        if isinstance(frame, Refusal):
            return frame
    return None


def _same_pixels(first: Slice, second: Slice, options: IngestOptions) -> bool:
    one, other = read_frames([first.place, second.place], options)
    if not (isinstance(one, Frame) and isinstance(other, Frame)):
        return False
    exact = one.image.dtype.kind in "iu"
    return bool(np.array_equal(one.image, other.image, equal_nan=not exact))


def _refused(file: Sequence[Slice], refusal: Refusal) -> Refused:
    return Refused(file[0].place.path, file[0].key, refusal.reason, refusal.detail)
