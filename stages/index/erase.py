"""Erasure: a record's bytes are overwritten, its leaf stays, and a log entry records it.

Order: the intent is written down (``erasing``); the erasure entries are committed and published; the blocks
are written again, without the records, into a new segment; the manifest that leads there replaces the old
one; the old bytes are overwritten with zeros; the intent is removed. A crash in between leaves the intent,
and the next writer finishes the work. What a file system or a disk keeps of overwritten bytes
(copy-on-write, wear levelling, snapshots, backups) is beyond this program.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from stages.files import opened, sync_directory, write_at
from stages.index.errors import DamagedError, IndexStoreError
from stages.index.log.erasure import Cause, Erasure
from stages.index.rewrite import Rewriter
from stages.index.store.blocks import StoredBlock
from stages.index.store.durable import replace_files
from stages.index.store.identity import INTENT, STAGING
from stages.index.store.manifest import MANIFEST, Manifest
from stages.index.store.segments import Segments
from stages.index.store.tiles import Tiles
from stages.index.writer import Writer

_ZEROS: Final = bytes(1 << 20)
_TOGETHER: Final = 1024  # erasure entries in one block


@dataclass(frozen=True, slots=True)
class Dead:
    """Bytes of a segment that nothing leads to."""

    file: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Intent:
    """What is being erased."""

    records: tuple[tuple[int, str], ...]  # index and key, hex
    time_ms: int
    cause: int
    dead: tuple[Dead, ...]  # where the blocks that hold them lie

    def encode(self) -> bytes:
        """The file's bytes, with their own digest."""
        body = json.dumps(asdict(self), sort_keys=True).encode()
        return sha256(body).hexdigest().encode() + b"\n" + body + b"\n"


def decode_intent(data: bytes) -> Intent:
    """The intent that these bytes are."""
    digest, _, body = data.partition(b"\n")
    if sha256(body.removesuffix(b"\n")).hexdigest().encode() != digest:
        raise DamagedError(INTENT, "is damaged: repeat the erasure that was interrupted")
    fields = json.loads(body)
    records = tuple((int(index), str(key)) for index, key in fields["records"])
    return Intent(records, fields["time_ms"], fields["cause"], tuple(Dead(**dead) for dead in fields["dead"]))


def erase(writer: Writer, records: Mapping[int, bytes], cause: Cause) -> int:
    """Erase the records with these indices and keys that are still there; how many."""
    finish(writer)
    writer.publish()
    home, size = writer.directory, writer.size
    segments = Segments(home, size)
    left: dict[int, bytes] = {}
    dead: dict[Dead, None] = {}
    for index, key in sorted(records.items()):
        extent, block = segments.holder(index)
        if not isinstance(block, StoredBlock) or block.keys[index - block.first_index] != key:
            raise IndexStoreError(f"record {index} does not have the record id {key.hex()}")
        if block.eraser(index - block.first_index) is None:
            left[index] = key
            dead[Dead(extent.file, extent.offset, extent.length)] = None
    if not left:
        return 0
    named = tuple((index, key.hex()) for index, key in left.items())
    intent = Intent(named, time.time_ns() // 1_000_000, cause, tuple(dead))
    replace_files(writer.pool, home / STAGING, [(home / INTENT, intent.encode())], writer.fence)
    finish(writer)
    return len(left)


def finish(writer: Writer) -> None:
    """Complete the erasure of the intent from any point of interruption; do nothing without one."""
    home = writer.directory
    try:
        intent = decode_intent((home / INTENT).read_bytes())
    except FileNotFoundError:
        return
    writer.publish()
    erasers = dict(_committed(home, writer.size, intent))
    missing = [(index, key) for index, key in intent.records if index not in erasers]
    for start in range(0, len(missing), _TOGETHER):
        some = missing[start : start + _TOGETHER]
        entries = [
            Erasure(bytes.fromhex(key), index, intent.time_ms, Cause(intent.cause)) for index, key in some
        ]
        places = writer.state([entry.encode() for entry in entries])
        erasers |= {index: place for (index, _), place in zip(some, places, strict=True)}
    writer.publish()
    _move(writer, erasers)
    _destroy(home, writer.size, intent.dead)
    (home / INTENT).unlink()
    sync_directory(home)


def _committed(home: Path, size: int, intent: Intent) -> Iterator[tuple[int, int]]:
    """Index of each of the records that an entry erases already, and that entry's index."""
    wanted = {index for index, _ in intent.records}
    for place, erasure in Tiles(home, size).erasures(min(wanted)):
        if erasure.index in wanted:
            yield erasure.index, place


def _move(writer: Writer, erasers: Mapping[int, int]) -> None:
    """Write the blocks again without the records, and let the manifest lead there."""
    segments = Segments(writer.directory, writer.size)
    rows = list(segments.manifest)
    gone: dict[int, dict[int, int]] = {}  # block: row: index of its erasure
    for index, eraser in erasers.items():
        number = segments.manifest.find(index)
        gone.setdefault(number, {})[index - rows[number].first] = eraser
    with Rewriter(writer) as rewriter:
        for number, lost in sorted(gone.items()):
            block = segments.block(number)
            if not isinstance(block, StoredBlock):
                raise DamagedError(rows[number].file, f"does not hold {rows[number]} as records")
            lost = {row: eraser for row, eraser in lost.items() if block.eraser(row) is None}  # noqa: PLW2901
            if lost:  # else it was moved before a crash
                rows[number] = rewriter.add(rows[number], block.without(lost))
    rewriter.lead_to(rows)


def _destroy(home: Path, size: int, dead: Sequence[Dead]) -> None:
    """Overwrite the bytes, unless something leads there after all; drop segments that are empty now."""
    alive = {(row.file, row.offset) for row in Manifest(home, size)}
    for one in dead:
        if (one.file, one.offset) in alive or not (home / one.file).exists():
            continue
        with opened(home / one.file) as fd:
            for start in range(0, one.length, len(_ZEROS)):
                write_at(fd, _ZEROS[: one.length - start], one.offset + start)
            os.fdatasync(fd)
    for file in {one.file for one in dead} - {file for file, _ in alive}:
        (home / file).unlink(missing_ok=True)
    sync_directory((home / MANIFEST).parent)
