"""Ingest: places become frames; what identifies is sealed here and stays sealed downstream.

A row leaves with pixel values, spacing and orientation in the open, its identity sealed to the index's
owner (HPKE), and a ticket that only this site can open. A row whose pixels cannot be had is rejected
alone. Context frames are read too; one that cannot be read is no context, not an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from stages.base import Reason, Reject, Split
from stages.batches import Frame, Frames, Located, Rows, same_stack
from stages.encrypt.keys.site import load_site_secret
from stages.encrypt.public.folder import load_public
from stages.encrypt.public.sealing import Sealer
from stages.ingest.codecs import check_installed
from stages.ingest.content import content, same_content
from stages.ingest.decode import Decoded, decode, read_frames
from stages.ingest.deidentify import identity
from stages.ingest.faults import Refusal
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site
from stages.places import FileKind, Held, Place


@dataclass(frozen=True, slots=True)
class Ingest:
    """Located to Frames. ``keys`` holds the site secret and the owner's public key."""

    options: IngestOptions
    keys: Path
    name: ClassVar[str] = "ingest"

    @contextmanager
    def open(self) -> Iterator[Callable[[Located], Split[Frames]]]:
        """Load the keys; yield the batch function."""
        check_installed()
        site = Site(load_site_secret(self.keys))
        sealer = Sealer(load_public(self.keys).hpke)
        yield partial(self._run, site, sealer)

    def _run(self, site: Site, sealer: Sealer, located: Located) -> Split[Frames]:
        contents: dict[int, bytes] = {}
        found = decode(located.places, self.options)
        for row, (one, place, held) in enumerate(zip(found, located.places, located.held, strict=True)):
            if isinstance(one, Decoded):
                contents[row] = _content(one, place, site)
                if held is not None and not same_content(contents[row], held.content):
                    found[row] = _other_than(held)
        kept = [(row, one) for row, one in enumerate(found) if isinstance(one, Decoded)]
        rejected = tuple(
            Reject(key, self.name, one.reason, one.detail)
            for key, one in zip(located.keys, found, strict=True)
            if isinstance(one, Refusal)
        )
        keys = tuple(located.keys[row] for row, _ in kept)
        places = [located.places[row] for row, _ in kept]
        rows = Rows(
            keys=keys,
            series=tuple(located.series[row] for row, _ in kept),
            sealed=tuple(
                sealer.seal(identity(one.identity, place), key)
                for (_, one), place, key in zip(kept, places, keys, strict=True)
            ),
            tickets=tuple(site.seal_ticket(place, key) for place, key in zip(places, keys, strict=True)),
            stacks=tuple(located.stacks[row] for row, _ in kept),
            contents=tuple(contents[row] for row, _ in kept),
        )
        frames = tuple(one.frame for _, one in kept)
        return Split(Frames(rows, frames, *self._context(located, [row for row, _ in kept])), rejected)

    def _context(self, located: Located, kept: list[int]) -> tuple[Frame | None, Frame | None]:
        """The neighbours of the cut, where the kept rows next to them are still of their stack."""
        before = located.before if kept and same_stack(located, 0, kept[0]) else None
        after = located.after if kept and same_stack(located, len(located) - 1, kept[-1]) else None
        wanted = [place for place in (before, after) if place is not None]
        found = dict(zip(wanted, read_frames(wanted, self.options), strict=True))
        frames = [None if place is None else found[place] for place in (before, after)]
        first, last = (frame if isinstance(frame, Frame) else None for frame in frames)
        return first, last


def _content(decoded: Decoded, place: Place, site: Site) -> bytes:
    """Of DICOM only: a record id of any other file names its very bytes."""
    return content(decoded.frame, site) if place.kind is FileKind.DICOM else b""


def _other_than(held: Held) -> Refusal:
    detail = (
        f"Its SOP Instance UID was delivered from {held.path} on {held.day} with other pixels; "
        "that result stays."
    )
    return Refusal(Reason.CONFLICT, detail)
