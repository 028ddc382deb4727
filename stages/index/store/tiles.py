"""The tree on disk: C2SP tlog-tiles (c2sp.org/tlog-tiles), 256 hashes a tile, records in entry bundles.

The tree is written from its right edge: at each level the hashes that do not fill a tile yet, at most
255, and little memory at any size of the log. ``grow`` is pure; its caller makes the tiles durable.
A tile of the committed tree never changes, so readers need no lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from stages.index.errors import DamagedError, IndexStoreError
from stages.index.log.erasure import Erasure, decode_entry
from stages.index.log.leaf import Leaf, LeafError
from stages.index.log.tree import fold, perfect_parts, perfect_root, range_root
from stages.index.verifier import EMPTY_ROOT, HASH_BYTES, leaf_hash

WIDTH: Final = 256  # hashes in a full tile
_HEIGHT: Final = 8  # log2 of it
_ENTRIES: Final = "entries"
_LENGTH_BYTES: Final = 2  # before each record of a bundle, big-endian
_CACHED: Final = 64  # tiles or bundles a reader keeps: half a megabyte of hashes, three of records


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile or, where ``level`` is None, an entry bundle."""

    level: int | None
    number: int
    width: int
    data: bytes

    @property
    def path(self) -> str:
        """Where it lies, relative to the index."""
        return tile_path(self.level, self.number, self.width)


@dataclass(frozen=True, slots=True)
class Edge:
    """The right edge of a tree: all that appending needs."""

    size: int = 0
    levels: tuple[tuple[bytes, ...], ...] = ()  # the hashes of each level's partial tile
    bundle: bytes = b""  # the partial entry bundle

    @property
    def root(self) -> bytes:
        """The tree's root hash."""
        parts = [
            perfect_root(hashes[i << height : (i + 1) << height])
            for hashes in reversed(self.levels)
            for height, i in perfect_parts(0, len(hashes))
        ]
        return fold(parts) if parts else EMPTY_ROOT


def tile_path(level: int | None, number: int, width: int) -> str:
    """The path of tlog-tiles: three digits an element, all but the last marked by an x."""
    digits = [f"{number % 1000:03}"]
    while number := number // 1000:
        digits.append(f"x{number % 1000:03}")
    name = "/".join(reversed(digits))
    suffix = "" if width == WIDTH else f".p/{width}"
    return f"tile/{_ENTRIES if level is None else level}/{name}{suffix}"


def grow(
    edge: Edge, records: Sequence[bytes], hashes: Sequence[bytes] | None = None
) -> tuple[Edge, list[Tile]]:
    """The edge after these records, and every tile and bundle that is new or wider now.

    ``hashes`` are the records' leaf hashes where they are at hand.
    """
    bundles, bundle = _grow_entries(edge, records)
    grown, tiles = grow_tree(edge, hashes or [leaf_hash(record) for record in records])
    return replace(grown, bundle=bundle), bundles + tiles


def grow_tree(edge: Edge, leaves: Sequence[bytes]) -> tuple[Edge, list[Tile]]:
    """The same for leaf hashes; the entry bundle stays as it is."""
    tiles: list[Tile] = []
    levels: list[tuple[bytes, ...]] = []
    carry = tuple(leaves)
    while carry or len(levels) < len(edge.levels):
        level = len(levels)
        old = edge.levels[level] if level < len(edge.levels) else ()
        first = edge.size >> _HEIGHT * (level + 1)
        hashes, carry, added = _grow_level(level, first, old, carry)
        tiles += added
        levels.append(hashes)
    return replace(edge, size=edge.size + len(leaves), levels=tuple(levels)), tiles


def grown_tiles(old: int, new: int) -> Iterator[tuple[int | None, int]]:
    """Level and number of each tile that has become wider, the highest level first, bundles last."""
    spans: list[tuple[int | None, int, int]] = [(None, old, new)]
    level = 0
    while new >> _HEIGHT * level:
        spans.append((level, old >> _HEIGHT * level, new >> _HEIGHT * level))
        level += 1
    for place, first, stop in (*reversed(spans[1:]), spans[0]):
        if first < stop:
            yield from ((place, number) for number in range(first // WIDTH, -(-stop // WIDTH)))


def partial_tiles(edge: Edge) -> Iterator[Tile]:
    """The hash tiles that the tree does not fill yet."""
    for level, hashes in enumerate(edge.levels):
        if hashes:
            yield Tile(level, edge.size >> _HEIGHT * (level + 1), len(hashes), b"".join(hashes))


def _grow_level(
    level: int, first: int, old: tuple[bytes, ...], new: tuple[bytes, ...]
) -> tuple[tuple[bytes, ...], tuple[bytes, ...], list[Tile]]:
    """One level: what stays partial, what goes a level up, and the tiles."""
    if not new:
        return old, (), []
    hashes = old + new
    full = len(hashes) // WIDTH * WIDTH
    groups = [hashes[i : i + WIDTH] for i in range(0, full, WIDTH)]
    rest = hashes[full:]
    tiles = [Tile(level, first + i, WIDTH, b"".join(group)) for i, group in enumerate(groups)]
    if rest:
        tiles.append(Tile(level, first + len(groups), len(rest), b"".join(rest)))
    return rest, tuple(perfect_root(group) for group in groups), tiles


def _grow_entries(edge: Edge, records: Sequence[bytes]) -> tuple[list[Tile], bytes]:
    """The entry bundles, and the one that stays partial."""
    tiles = []
    bundle, number, width = edge.bundle, edge.size // WIDTH, edge.size % WIDTH
    done = 0
    while done < len(records):
        some = records[done : done + WIDTH - width]
        bundle += b"".join(len(record).to_bytes(_LENGTH_BYTES, "big") + record for record in some)
        width, done = width + len(some), done + len(some)
        tiles.append(Tile(None, number, width, bundle))
        if width == WIDTH:
            bundle, number, width = b"", number + 1, 0
    return tiles, bundle


def split_bundle(data: bytes) -> Iterator[bytes]:
    """The bundle's whole records; less than all bytes where the bundle is damaged."""
    start = _LENGTH_BYTES
    while (stop := start + int.from_bytes(data[start - _LENGTH_BYTES : start], "big")) <= len(data):
        yield data[start:stop]
        start = stop + _LENGTH_BYTES


def bundle_bytes(records: Iterable[bytes]) -> int:
    """The length of a bundle of these records."""
    return sum(_LENGTH_BYTES + len(record) for record in records)


def _entry(record: bytes) -> Leaf | Erasure:
    try:
        return decode_entry(record)
    except LeafError as error:
        raise DamagedError(f"tile/{_ENTRIES}", f"is damaged: {error}") from error


def _key(record: bytes) -> bytes | None:
    entry = _entry(record)
    return entry.key if isinstance(entry, Leaf) else None


class Tiles:
    """Reads the tree of the first ``size`` records. Sizes that never were a checkpoint may not be there."""

    def __init__(self, directory: Path, size: int) -> None:
        self._directory = directory
        self.size = size
        self._hashes = lru_cache(_CACHED)(self._read_hashes)
        self._records = lru_cache(_CACHED)(self._read_records)

    def width(self, level: int | None, number: int) -> int:
        """How many hashes or records a tile of this tree has; 0 where it has no such tile."""
        total = self.size >> _HEIGHT * (level or 0)
        return max(0, min(WIDTH, total - number * WIDTH))

    def partial(self) -> Iterator[tuple[int | None, int]]:
        """Level and number of every tile and bundle that the tree does not fill."""
        if self.size % WIDTH:
            yield None, self.size // WIDTH
        level = 0
        while total := self.size >> _HEIGHT * level:
            if total % WIDTH:
                yield level, total // WIDTH
            level += 1

    def node(self, height: int, number: int) -> bytes:
        """The hash of a perfect subtree; see ``tree``."""
        level, inner = divmod(height, _HEIGHT)
        first = number << inner
        hashes = self._hashes(level, first // WIDTH)
        return perfect_root(hashes[first % WIDTH : first % WIDTH + (1 << inner)])

    def root(self) -> bytes:
        """The tree's root hash."""
        return range_root(0, self.size, self.node)

    def record(self, index: int) -> bytes:
        """A leaf record, as it is stored."""
        return self._records(index // WIDTH)[index % WIDTH]

    def key(self, index: int) -> bytes | None:
        """A record's key; None where the entry is no record."""
        return _key(self.record(index))

    def keys(self, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """Number and key of all records from number ``first`` on, bundle by bundle."""
        for number in range(first // WIDTH, -(-self.size // WIDTH)):
            for index, record in enumerate(self._read_records(number), number * WIDTH):
                key = _key(record)
                if key is not None and index >= first:
                    yield index, key

    def erasures(self, first: int = 0) -> Iterator[tuple[int, Erasure]]:
        """Number and content of all erasures from entry ``first`` on."""
        for number in range(first // WIDTH, -(-self.size // WIDTH)):
            for index, record in enumerate(self._read_records(number), number * WIDTH):
                entry = _entry(record)
                if isinstance(entry, Erasure) and index >= first:
                    yield index, entry

    def edge(self) -> Edge:
        """The right edge, to append to."""
        bundle = b""
        levels: list[tuple[bytes, ...]] = []
        for level, number in self.partial():
            if level is None:
                bundle, _ = self.read(None, number)
            else:
                levels += [()] * (level - len(levels))  # full so far
                levels.append(self._hashes(level, number))
        return Edge(self.size, tuple(levels), bundle)

    def read(self, level: int | None, number: int) -> tuple[bytes, str]:
        """A tile's bytes and the path they lie at: once it is full, that of the full tile."""
        width = self.width(level, number)
        path, full = tile_path(level, number, width), tile_path(level, number, WIDTH)
        if (data := self._find(path)) is not None:
            return data, path
        if width == WIDTH or (data := self._find(full)) is None:
            raise self._missing(path)
        if level is not None:
            return data[: width * HASH_BYTES], full
        records = list(split_bundle(data))[:width]
        return data[: bundle_bytes(records)], full

    def _find(self, path: str) -> bytes | None:
        try:
            return (self._directory / path).read_bytes()
        except FileNotFoundError:
            return None

    def _missing(self, path: str) -> IndexStoreError:
        return DamagedError(path, "is missing")

    def _read_hashes(self, level: int, number: int) -> tuple[bytes, ...]:
        data, path = self.read(level, number)
        if len(data) != self.width(level, number) * HASH_BYTES:
            raise DamagedError(path, f"has {len(data)} bytes, not {HASH_BYTES} a hash")
        return tuple(data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES))

    def _read_records(self, number: int) -> tuple[bytes, ...]:
        data, path = self.read(None, number)
        records = tuple(split_bundle(data))
        if len(records) != self.width(None, number) or bundle_bytes(records) != len(data):
            raise DamagedError(path, "is damaged: its records do not fill it")
        return records
