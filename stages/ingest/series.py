"""Series: their slices in the order of the body, packed or cut into batches. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from stages.batches import Located, Place, Refused
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site

_SAME_MM: Final = 1e-3  # positions closer than this are one
_PARALLEL: Final = 0.999  # cosine between the normals of slices that share a direction


@dataclass(frozen=True, slots=True)
class Slice:
    """One frame of a series, and what it is sorted by."""

    key: bytes
    place: Place
    pixels: int  # about how many, for the size of batches
    position: tuple[float, ...] | None = None  # of the first pixel, LPS millimetres
    orientation: tuple[float, ...] | None = None  # cosines of row and column
    instance: int | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Frames that belong together, in order."""

    pseudonym: bytes
    slices: tuple[Slice, ...]


def ordered(slices: Sequence[Slice]) -> tuple[Slice, ...]:
    """By position along the common normal, else by instance number, else by path.

    Where positions repeat (phases, diffusion weights), the stacks follow one another, so that neighbours
    in the order are neighbours in the body.
    """
    named = sorted(slices, key=lambda one: (one.instance is None, one.instance or 0, one.place.path))
    depths = _depths(named)
    if depths is None:
        return tuple(named)
    rank: list[tuple[int, float, int]] = []
    by_depth = sorted(range(len(named)), key=lambda row: depths[row])
    start = 0
    for here, row in enumerate(by_depth):
        if depths[row] - depths[by_depth[start]] > _SAME_MM:
            start = here
        rank.append((here - start, depths[row], row))
    return tuple(named[row] for _, _, row in sorted(rank))


def _depths(slices: Sequence[Slice]) -> list[float] | None:
    """Position along the normal; None where it is unknown for one or the slices are not parallel."""
    corners, cosines = [one.position for one in slices], [one.orientation for one in slices]
    if None in corners or None in cosines:
        return None
    cosines_N6 = np.array(cosines, np.float64)
    with np.errstate(all="ignore"):  # a header may hold any number
        normals_N3 = np.cross(cosines_N6[:, :3], cosines_N6[:, 3:])
        parallel = normals_N3 @ normals_N3[0] >= _PARALLEL
        depths_N = np.array(corners, np.float64) @ normals_N3[0]
    if not (parallel.all() and np.isfinite(depths_N).all()):
        return None
    depths: list[float] = depths_N.tolist()
    return depths


def batches(
    found: Iterable[Series | Refused], options: IngestOptions, site: Site
) -> Iterator[Located | Refused]:
    """Short series together, as many as fit; a longer one in balanced pieces with its neighbours."""
    packed: list[Series] = []
    for one in found:
        if isinstance(one, Refused):
            yield one
            continue
        copied = any(short.pseudonym == one.pseudonym for short in packed)  # a copy is no neighbour
        if packed and (copied or _parts([*packed, one], options) > 1):
            yield _together(packed)
            packed = []
        parts = _parts([one], options)
        if parts > 1:
            yield from _pieces(one, parts, site)
        else:
            packed.append(one)
    if packed:
        yield _together(packed)


def _parts(many: Sequence[Series], options: IngestOptions) -> int:
    """How many batches the series take, by count and by pixels; a frame is never cut."""
    rows = sum(len(one.slices) for one in many)
    pixels = sum(row.pixels for one in many for row in one.slices)
    return min(rows, max(-(-rows // options.batch), -(-pixels // options.max_pixels)))


def _together(packed: Sequence[Series]) -> Located:
    return Located(
        keys=tuple(row.key for one in packed for row in one.slices),
        series=tuple(one.pseudonym for one in packed for _ in one.slices),
        places=tuple(row.place for one in packed for row in one.slices),
    )


def _pieces(series: Series, parts: int, site: Site) -> Iterator[Located]:
    rows = series.slices
    group = site.group(series.pseudonym, rows[0].place.path)
    cuts = [len(rows) * part // parts for part in range(parts + 1)]
    for low, high in pairwise(cuts):
        yield Located(
            keys=tuple(row.key for row in rows[low:high]),
            series=(series.pseudonym,) * (high - low),
            places=tuple(row.place for row in rows[low:high]),
            before=rows[low - 1].place if low else None,
            after=rows[high].place if high < len(rows) else None,
            group=group,
            parts=parts,
        )
