"""Preprocess: decoded frames to the network's input, with neighbours as channels.

A frame is prepared once (single.py; batched.py on a GPU) and seen up to three times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from stages.base import Reason, Reject, Split
from stages.batches import Frame, Frames, Prepared, Rows, same_stack
from stages.packed import Packed
from stages.preprocess.options import PreprocessOptions
from stages.preprocess.single import PreparedSlice, prepare


@dataclass(frozen=True, slots=True)
class Preprocess:
    """Frames to Prepared: channels are the previous, the same and the next slice of a stack."""

    options: PreprocessOptions = field(default_factory=PreprocessOptions)
    device: str = "cpu"
    name: ClassVar[str] = "preprocess"

    @contextmanager
    def open(self) -> Iterator[Callable[[Frames], Split[Prepared]]]:
        """Yield the batch function, on one thread: a field is too small to share out.

        More would spin beside the other stages (45 times the CPU time on two busy cores).
        """
        cv2.setNumThreads(1)
        with threadpool_limits(1, user_api="blas"):
            yield self._run

    def _run(self, frames: Frames) -> Split[Prepared]:
        kept: list[int] = []
        rejected: list[Reject] = []
        slices: list[PreparedSlice] = []
        for row, prepared in enumerate(self._each(frames.frames)):
            if isinstance(prepared, str):
                rejected.append(Reject(frames.rows.keys[row], self.name, Reason.DEGENERATE, prepared))
            else:
                kept.append(row)
                slices.append(prepared)
        first = bool(kept) and same_stack(frames.rows, 0, kept[0])
        last = bool(kept) and same_stack(frames.rows, len(frames) - 1, kept[-1])
        before = self._context(frames.before) if first else None
        after = self._context(frames.after) if last else None
        return Split(self._packed(frames.rows.take(kept), slices, before, after), tuple(rejected))

    def _each(self, frames: Sequence[Frame]) -> list[PreparedSlice | str]:
        if self.device == "cpu":
            return [prepare(frame, self.options) for frame in frames]
        from stages.preprocess.batched import prepare_together  # noqa: PLC0415  # torch takes seconds

        return prepare_together(frames, self.options, self.device)

    def _context(self, frame: Frame | None) -> PreparedSlice | None:
        """A cut's neighbour, prepared; None where there is none to see."""
        prepared = "" if frame is None else prepare(frame, self.options)
        return None if isinstance(prepared, str) else prepared

    def _packed(
        self,
        rows: Rows,
        slices: Sequence[PreparedSlice],
        before: PreparedSlice | None,
        after: PreparedSlice | None,
    ) -> Prepared:
        fields = [*slices, *(one for one in (before, after) if one is not None)]
        size = self.options.size
        dtype = np.uint8 if self.options.in_levels else np.float32
        field_MHW = np.empty((len(fields), size, size), dtype)
        for number, one in enumerate(fields):
            field_MHW[number] = one.field_HW
        packed = Packed(
            field_MHW,
            np.array([one.slope for one in fields], np.float32),
            np.array([one.intercept for one in fields], np.float32),
            neighbours(rows, before is not None, after is not None),
        )
        return Prepared(rows, packed, tuple(one.grid for one in slices))


def neighbours(rows: Rows, before: bool, after: bool) -> NDArray[np.int64]:
    """The fields of (previous, self, next) for each row, [N, 3], where the rows' own fields come first.

    Then come the context before the first row and the one after the last, where there are such. A slice is
    its own neighbour where its stack ends.
    """
    count = len(rows)
    own_N = np.arange(count)
    channels_NC = np.stack([own_N] * 3, 1)
    for row in range(1, count):
        if same_stack(rows, row - 1, row):
            channels_NC[row, 0], channels_NC[row - 1, 2] = row - 1, row
    if before:
        channels_NC[0, 0] = count
    if after:
        channels_NC[-1, 2] = count + before
    return channels_NC
