"""Parts of a concatenation (PS3.3 section C.7.6.16.2.2.4): one multi-frame object cut into several files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from pydicom.tag import BaseTag

from stages.deliver.caveats import Caveat, Flag
from stages.deliver.planes import Stack
from stages.ingest.elements import integer, text

_CONCATENATION: Final = BaseTag(0x00209161)
_NUMBER: Final = BaseTag(0x00209162)
_OF: Final = BaseTag(0x00209163)


def missing_parts(stacks: Iterable[Stack]) -> Iterator[Caveat]:
    """One caveat for all concatenations of a delivery that lack parts; none where nothing is stated."""
    there: dict[str, set[int | None]] = {}
    stated: dict[str, int] = {}
    for header in {id(plane.header): plane.header for stack in stacks for plane in stack.planes}.values():
        uid, total = text(header, _CONCATENATION), integer(header, _OF)
        if uid and total:
            there.setdefault(uid, set()).add(integer(header, _NUMBER))
            stated[uid] = max(total, stated.get(uid, 0))
    lacking = sum(max(total - len(there[uid]), 0) for uid, total in stated.items())
    if lacking:
        yield Caveat(Flag.MISSING_PARTS, numbers={"parts": lacking, "of": sum(stated.values())})
