"""Compares each record with its leaf and the tree, and reports which of them is damaged.

A record is there by its bytes (segment), by its leaf record (entry bundle) and by that record's hash
(level-0 tile). Where one disagrees with the other two, that one is damaged; where all differ, the tree
above decides about the tile. Bytes outside any record (Arrow framing, padding) are covered by the
SHA-256 of their block in the manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import takewhile

from stages.index.errors import DamagedError
from stages.index.log.erasure import Erasure, decode_entry
from stages.index.log.leaf import Leaf, LeafError
from stages.index.store.tiles import WIDTH, Tiles, bundle_bytes, split_bundle
from stages.index.verifier import HASH_BYTES, leaf_hash


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; ``index`` and ``key`` (hex) name the record where there is one."""

    index: int | None
    key: str | None
    file: str  # relative to the index
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """A segment's leaf records of consecutive entries; None where ``unreadable`` gives the reason."""

    first: int
    entries: Sequence[bytes | None]
    file: str
    unreadable: str = ""
    erased: Sequence[tuple[int, int]] = ()  # row, and log index of the entry that erases it
    damaged: bool = False  # some byte of the block is wrong, of a record or between them


@dataclass(frozen=True, slots=True)
class _Claimed:
    """A bundle's records or a tile's hashes; None from the place ``good`` on, if there is trouble."""

    file: str
    items: Sequence[bytes | None]
    good: int = 0
    trouble: str = ""


class Comparison:
    """Walks bundles and level-0 tiles beside the segments; one of each is in memory."""

    def __init__(self, tiles: Tiles) -> None:
        self._tiles = tiles
        self._number = -1  # of the bundle and the tile in memory
        self._bundle = _Claimed("", [])
        self._tile = _Claimed("", [])

    def of(self, found: Found) -> tuple[list[bytes], list[Finding]]:
        """The leaf hash that each record should have in the tree, and what is wrong."""
        hashes: list[bytes] = []
        findings: list[Finding] = []
        for index, entry in enumerate(found.entries, found.first):
            right, wrong = self._record(index, entry, found)
            hashes.append(right)
            findings += wrong
        if found.damaged and all(finding.file != found.file for finding in findings):
            reason = "the Arrow framing or padding around the record is damaged"
            named = ((index, _entry(entry)) for index, entry in enumerate(found.entries, found.first))
            findings += [
                Finding(index, entry.key.hex() if entry else None, found.file, reason)
                for index, entry in named
            ]
        return hashes, findings

    def _record(self, index: int, entry: bytes | None, found: Found) -> tuple[bytes, list[Finding]]:
        number, place = divmod(index, WIDTH)
        if number != self._number:
            self._number = number
            self._tile = self._load_tile(number)
            self._bundle = self._load_bundle(number)
        record, tiled = self._bundle.items[place], self._tile.items[place]
        votes = (entry and leaf_hash(entry), record and leaf_hash(record), tiled)
        right = _majority([vote for vote in votes if vote])
        agreed = _entry(entry) if votes[0] == right else _entry(record) if votes[1] == right else None
        wrong = [(part.file, part.trouble) for part in (self._bundle, self._tile) if part.good == place]
        if entry is None:
            wrong.append((found.file, found.unreadable))
        elif votes[0] != right:
            wrong.append((found.file, _difference(_entry(entry), agreed)))
        if votes[1] not in (None, right):
            wrong.append((self._bundle.file, "the leaf record is not what was committed"))
        if votes[2] not in (None, right):
            wrong.append((self._tile.file, "the leaf hash is not what was committed"))
        named = agreed or _entry(entry)
        key = named.key.hex() if named else None
        return right, [Finding(index, key, file, reason) for file, reason in wrong if reason]

    def _load_tile(self, number: int) -> _Claimed:
        width = self._tiles.width(0, number)
        try:
            data, file = self._tiles.read(0, number)
        except DamagedError as error:
            return _Claimed(error.file, [None] * width, 0, error.reason)
        hashes = [data[i : i + HASH_BYTES] for i in range(0, len(data) - HASH_BYTES + 1, HASH_BYTES)]
        if len(data) == width * HASH_BYTES:
            return _Claimed(file, hashes)
        return _good_part(
            file, hashes, len(hashes), width, f"has {len(data)} bytes, not {width * HASH_BYTES}"
        )

    def _load_bundle(self, number: int) -> _Claimed:
        width = self._tiles.width(None, number)
        try:
            data, file = self._tiles.read(None, number)
        except DamagedError as error:
            return _Claimed(error.file, [None] * width, 0, error.reason)
        records = list(split_bundle(data))
        if len(records) == width and bundle_bytes(records) == len(data):
            return _Claimed(file, records)
        pairs = zip(records, self._tile.items, strict=False)
        good = len(list(takewhile(lambda pair: leaf_hash(pair[0]) == pair[1], pairs)))
        return _good_part(
            file, records, good, width, "the leaf record is not readable, nor are those after it"
        )


def _good_part(file: str, items: Sequence[bytes], good: int, width: int, trouble: str) -> _Claimed:
    """The first ``good`` items of a file that is damaged after them."""
    good = min(good, width - 1)
    return _Claimed(file, [*items[:good], *[None] * (width - good)], good, trouble)


def _majority(votes: Sequence[bytes]) -> bytes:
    """What two agree on; else the last, which is the tile's where that can be read."""
    for vote in votes:
        if votes.count(vote) > 1:
            return vote
    return votes[-1] if votes else bytes(HASH_BYTES)


def _entry(record: bytes | None) -> Leaf | Erasure | None:
    try:
        return None if record is None else decode_entry(record)
    except LeafError:
        return None


def _difference(entry: Leaf | Erasure | None, agreed: Leaf | Erasure | None) -> str:
    if not isinstance(entry, Leaf) or not isinstance(agreed, Leaf):
        return "the record is not what was committed"
    parts = [part.name for part in fields(Leaf) if getattr(entry, part.name) != getattr(agreed, part.name)]
    return f"the record's {' and '.join(parts)} is not what was committed"
