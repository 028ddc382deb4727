"""The masks of a stack as they are delivered: without stray objects, islands and small holes.

Slices are laid over one another where they lie in the patient: the field of view may move within a stack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.components import Corner, mended
from stages.deliver.planes import Plane, Stack
from stages.grid import Mask

_FAR: Final = 1 << 24  # pixels: no patient is so large


def mended_stack(stack: Stack, *, largest: bool) -> Stack:
    """The stack with its masks mended (components.py), and what was removed of each as a stray object."""
    masks = [plane.result.mask for plane in stack.planes]
    found = mended(len(masks), lambda i: masks[i].unpack(), corners_of(stack.planes), largest=largest)
    planes = (
        replace(plane, result=replace(plane.result, mask=Mask.pack(mask_HW)), removed=removed)
        for plane, (mask_HW, removed) in zip(stack.planes, found, strict=True)
    )
    return replace(stack, planes=tuple(planes))


def corners_of(planes: Sequence[Plane]) -> list[Corner]:
    """Where each slice begins, in whole pixels from the first; none where the source does not tell.

    Slices whose pixel spacing differs a little are laid over one another by their centres.
    """
    steps = [_steps_mm(plane) for plane in planes]
    known = [
        plane.position_mm + step_32 @ np.array(plane.result.mask.shape) / 2
        for plane, step_32 in zip(planes, steps, strict=True)
        if plane.position_mm is not None and step_32 is not None
    ]
    if not planes or len(known) < len(planes) or steps[0] is None:
        return []
    with np.errstate(all="ignore"):  # a header may hold any number
        offsets_N3 = np.array(known) - known[0]
        corners_N2 = np.rint(offsets_N3 @ np.linalg.pinv(steps[0]).T)
    if not (np.abs(corners_N2) < _FAR).all():
        return []
    return [(int(row), int(column)) for row, column in corners_N2]


def _steps_mm(plane: Plane) -> NDArray[np.float64] | None:
    """Patient millimetres of one pixel down and of one to the right, [3, 2]; None where unknown."""
    if plane.orientation is None or plane.spacing_mm is None:
        return None
    right, down = np.array(plane.orientation, np.float64).reshape(2, 3)
    steps_32: NDArray[np.float64] = np.stack((down, right), 1) * plane.spacing_mm
    return steps_32 if np.isfinite(steps_32).all() else None
