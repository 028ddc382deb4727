"""Series: their stacks packed or cut into batches. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from stages.batches import Copied, Located, Refused
from stages.ingest.likeness import geometry_text
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site
from stages.ingest.slices import Slice, SliceStack
from stages.places import StackId


@dataclass(frozen=True, slots=True)
class Series:
    """Frames that belong together: its stacks, each in order."""

    pseudonym: bytes
    stacks: tuple[SliceStack, ...]

    @property
    def slices(self) -> tuple[Slice, ...]:
        """All slices, stack by stack."""
        return tuple(one for stack in self.stacks for one in stack.slices)

    @property
    def stack_ids(self) -> tuple[StackId, ...]:
        """Of each slice."""
        of = len(self.stacks)
        return tuple(
            stack_id
            for number, stack in enumerate(self.stacks, 1)
            for stack_id in [_stack_id(number, of, stack)] * len(stack.slices)
        )


def _stack_id(number: int, of: int, stack: SliceStack) -> StackId:
    conflicts = sum(one.contested for one in stack.slices)
    return StackId(number, of, len(stack.slices), stack.doubt, conflicts)


def batches(
    found: Iterable[Series | Refused | Copied], options: IngestOptions, site: Site
) -> Iterator[Located | Refused | Copied]:
    """Short series together, as many as fit; a longer one in balanced pieces with its neighbours."""
    packed: list[Series] = []
    for one in found:
        if not isinstance(one, Series):
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
        stacks=tuple(stack for one in packed for stack in one.stack_ids),
        again=tuple(row.again for one in packed for row in one.slices),
        held=tuple(row.held for one in packed for row in one.slices),
        geometry=tuple(geometry_text(row) for one in packed for row in one.slices),
    )


def _pieces(series: Series, parts: int, site: Site) -> Iterator[Located]:
    rows, stacks = series.slices, series.stack_ids
    group = site.group(series.pseudonym, rows[0].place.path)
    cuts = [len(rows) * part // parts for part in range(parts + 1)]
    for low, high in pairwise(cuts):
        yield Located(
            keys=tuple(row.key for row in rows[low:high]),
            series=(series.pseudonym,) * (high - low),
            places=tuple(row.place for row in rows[low:high]),
            before=rows[low - 1].place if low and stacks[low - 1] == stacks[low] else None,
            after=rows[high].place if high < len(rows) and stacks[high] == stacks[high - 1] else None,
            group=group,
            parts=parts,
            stacks=stacks[low:high],
            again=tuple(row.again for row in rows[low:high]),
            held=tuple(row.held for row in rows[low:high]),
            geometry=tuple(geometry_text(row) for row in rows[low:high]),
        )
