"""Slices as headers describe them, for tests of stacks."""

from __future__ import annotations

from itertools import count

from stages.ingest.acquisition import Acquisition
from stages.ingest.site import Site
from stages.ingest.slices import Slice
from stages.ingest.stacks import stacked
from stages.places import FileKind, Place

SITE = Site(bytes(32))
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
TILTED = (1.0, 0.0, 0.0, 0.0, 0.978, -0.208)


def slice_at(name: str, depth: float | None = None, instance: int | None = None, **marks: str) -> Slice:
    position = None if depth is None else (0.0, 0.0, depth)
    return Slice(
        SITE.key(name, 0),
        Place(name, 0, FileKind.DICOM),
        1,
        position,
        AXIAL,
        instance,
        (16, 16),
        (1.0, 1.0),
        1,
        Acquisition(**marks),
    )


def names(*slices: Slice) -> list[str]:
    """The stacks, each as the names of its slices."""
    return ["".join(one.place.path for one in stack.slices) for stack in stacked(slices)]


def phases(depths: list[float], values: list[str], mark: str, shift_mm: float = 0.0) -> list[Slice]:
    """Every depth imaged once for each value of a mark; named 0a, 1a, ... 0b, 1b, ..."""
    number = count(1)
    return [
        slice_at(f"{row}{chr(97 + n)} ", depth + n * shift_mm, next(number), **{mark: value})
        for n, value in enumerate(values)
        for row, depth in enumerate(depths)
    ]


def image_of(one: Slice) -> int:
    """Which image of its place it is, by its name."""
    return "abcd".index(one.place.path[1])
