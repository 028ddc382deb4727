"""What earlier runs delivered is the reference: its files come first, and what is another image is refused.

Headers are compared here; pixels where the images are decoded anyway, in the ingest stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stages.base import Reason
from stages.ingest.faults import Refusal
from stages.ingest.likeness import contradiction, geometry, geometry_of
from stages.ingest.slices import Slice
from stages.ingest.sources.copies import Sorted, files, refuse
from stages.places import Held

DeliveredBefore = Callable[[Sequence[bytes]], Mapping[bytes, Held]]


def nothing_delivered(_record_ids: Sequence[bytes]) -> Mapping[bytes, Held]:
    """There was no earlier run."""
    return {}


def delivered_first(found: Sequence[Slice], held: Mapping[bytes, Held]) -> list[Slice]:
    """Files whose headers agree with what was delivered, then those of its paths; else the order stays."""

    def rank(one: Slice) -> tuple[bool, bool]:
        before = held.get(one.key)
        return before is None or bool(_other(one, before)), before is None or before.path != one.place.path

    return sorted(found, key=rank)


def refuse_others(result: Sorted, fresh: Sequence[Slice], held: Mapping[bytes, Held]) -> None:
    """Refuse fresh files that are kept and whose headers contradict, or lack, what was delivered."""
    for file in files(one for one in fresh if one.key in held):
        kept = [one for one in file if result.kept.get(one.key) is one]
        why = next(filter(None, (_other(one, held[one.key]) for one in kept)), "")
        if not why:
            continue
        before = held[kept[0].key]
        detail = (
            f"Its SOP Instance UID was delivered from {before.path} on {before.day} {why}; that result stays."
        )
        refuse(result, file, Refusal(Reason.CONFLICT, detail))
        for one in kept:
            del result.kept[one.key]


def _other(one: Slice, before: Held) -> str:
    """How the header differs from that of the delivered image; empty where it does not."""
    mine, theirs = geometry(one), geometry_of(before.geometry)
    if theirs is None:
        return ""
    if part := contradiction(mine, theirs):
        return f"with another {part}"
    return "with geometry that this file lacks" if mine.stated < theirs.stated else ""
