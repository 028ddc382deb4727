"""Whether two files of one image agree on its geometry: a copy has the same pixels at the same place.

What only one of them states contradicts nothing: the fuller one is used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from stages.ingest.slices import Slice

_NEAR_MM: Final = 0.01  # positions; writers round decimal strings
_NEAR_COSINE: Final = 1e-3
_NEAR_SPACING: Final = 1e-3  # relative


class StatedGeometry(NamedTuple):
    """What a header states of a frame's place; None or "" where it states nothing."""

    position: Sequence[float] | None  # LPS millimetres
    orientation: Sequence[float] | None  # cosines of row and column
    spacing_mm: Sequence[float] | None  # row, column
    frame_of_reference: str

    @property
    def stated(self) -> int:
        """How many of its parts are stated."""
        return sum(bool(part) for part in self)


def geometry(one: Slice) -> StatedGeometry:
    """That of a slice."""
    return StatedGeometry(one.position, one.orientation, one.spacing_mm, one.frame_of_reference)


def geometry_text(one: Slice) -> str:
    """The same as text, for the ledger."""
    return json.dumps(geometry(one))


def geometry_of(text: str) -> StatedGeometry | None:
    """What ``geometry_text`` wrote; None of the empty text."""
    return StatedGeometry(*json.loads(text)) if text else None


def contradiction(one: StatedGeometry, other: StatedGeometry) -> str:
    """The first part that both state, and state differently; empty where there is none."""
    if _differ(one.position, other.position, _NEAR_MM, 0.0):
        return "Image Position (Patient)"
    if _differ(one.orientation, other.orientation, _NEAR_COSINE, 0.0):
        return "Image Orientation (Patient)"
    if _differ(one.spacing_mm, other.spacing_mm, 0.0, _NEAR_SPACING):
        return "Pixel Spacing"
    both = one.frame_of_reference and other.frame_of_reference
    if both and one.frame_of_reference != other.frame_of_reference:
        return "Frame of Reference UID"
    return ""


def _differ(
    one: Sequence[float] | None, other: Sequence[float] | None, absolute: float, relative: float
) -> bool:
    return bool(one and other and not np.allclose(one, other, rtol=relative, atol=absolute))
