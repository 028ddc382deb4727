"""A check of everything in an index's directory, and the repair of what can be made again.

Beyond ``verify``: the caches, the lock, the journal after the checkpoint, zeros where something was erased,
what an interrupted writer left behind, an unfinished erasure, the mode of the signing key. What is *derived*
can be repaired from segments that are sound: tiles, bundles, caches, leftovers. Segments, manifest, keys and
checkpoint are authoritative and are never written here.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stages.index.check.compare import Finding
from stages.index.check.verify import verify
from stages.index.erase import decode_intent
from stages.index.errors import DamagedError
from stages.index.options import IndexOptions
from stages.index.session import LOCK_WAIT_S, open_writer
from stages.index.store.durable import SYNCS, filled, is_lock_text, locked, replace_files
from stages.index.store.identity import INTENT, LOCK, SIGNING_KEY, STAGING, read_checkpoint, read_identity
from stages.index.store.keytree_file import KEY_TREE, is_sound
from stages.index.store.lookup import LOOKUP, LOOKUP_SUM, encode_sum, is_sum, remove_lookup
from stages.index.store.manifest import MANIFEST, ROW_BYTES, Extent, Manifest, by_segment, gaps, rows_from
from stages.index.store.segments import Segments
from stages.index.store.tiles import WIDTH, Edge, Tile, Tiles, grow
from stages.index.verifier import Checkpoint

_TILE: Final = re.compile(r"(entries|[0-9]{1,2})/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([0-9]{1,3}))?")


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What was found; ``repairable`` are those of the findings that ``repair`` mends."""

    size: int
    root: bytes
    findings: tuple[Finding, ...]
    repairable: tuple[Finding, ...]


def fsck(path: Path) -> FileCheck:
    """Check every file, without writing. Run it without a writer: work in progress counts as unfinished."""
    report = verify(path)
    findings = [*report.errors, *_key_mode(path), *_lock(path)]
    with suppress(DamagedError):  # a finding of the verification
        _, verifier = read_identity(path)
        checkpoint, _ = read_checkpoint(path, verifier)
        findings += [*_tail(path, checkpoint), *_leftovers(path, checkpoint)]
        if report.ok:  # else there is nothing to compare the cache with
            findings += [*_lookup(path, checkpoint), *_key_tree(path, checkpoint)]
    sound = not any(
        finding.file.startswith(("segments/", "checkpoint", "index.json")) for finding in report.errors
    )
    mended = tuple(finding for finding in findings if _is_derived(finding, sound=sound))
    return FileCheck(report.size, report.root, tuple(findings), mended)


def repair(path: Path, options: IndexOptions) -> FileCheck:
    """Rebuild derived files, replay committed blocks, finish interrupted work; then check again."""
    with suppress(DamagedError), ThreadPoolExecutor(SYNCS) as pool, locked(path / LOCK, LOCK_WAIT_S) as fence:
        _, verifier = read_identity(path)
        checkpoint, _ = read_checkpoint(path, verifier)
        tiles = _wrong_tiles(path, checkpoint)
        for stray in _stray_tiles(path, checkpoint):
            stray.unlink()
        (path / STAGING).mkdir(exist_ok=True)
        replace_files(pool, path / STAGING, [(path / tile.path, tile.data) for tile in tiles], fence)
        if any(_lookup(path, checkpoint)):
            remove_lookup(path)
        if any(_key_tree(path, checkpoint)):
            (path / KEY_TREE).unlink()  # made again from the log when it is needed
        for file in (path / STAGING).iterdir():
            file.unlink()
    with suppress(DamagedError), open_writer(path, options):
        pass  # replays the journal, cuts off its end, finishes an erasure, makes the cache
    return fsck(path)


def _is_derived(finding: Finding, *, sound: bool) -> bool:
    if finding.file.startswith("tile"):
        return sound
    return finding.file in (LOOKUP, LOOKUP_SUM, KEY_TREE, STAGING, INTENT, LOCK) or finding.reason.startswith(
        ("holds", "is led to")
    )


def _key_mode(path: Path) -> Iterator[Finding]:
    key = path / SIGNING_KEY
    if key.exists() and stat.S_IMODE(key.stat().st_mode) & 0o077:
        mode = stat.S_IMODE(key.stat().st_mode)
        yield Finding(None, None, SIGNING_KEY, f"can be read by others: its mode is {mode:04o}, not 0600")


def _lock(path: Path) -> Iterator[Finding]:
    if (path / LOCK).exists() and not is_lock_text((path / LOCK).read_bytes()):
        yield Finding(None, None, LOCK, "is not what a writer wrote: the next one writes it again")


def _lookup(path: Path, checkpoint: Checkpoint) -> Iterator[Finding]:
    """Whether the cache, if there is one, equals the log, and is as its last writer left it."""
    summed = b""
    with suppress(FileNotFoundError):
        summed = (path / LOOKUP_SUM).read_bytes()
    if summed and not is_sum(summed):
        yield Finding(None, None, LOOKUP_SUM, "is damaged")
        return
    if not (path / LOOKUP).exists():
        return
    if summed and summed != encode_sum(path):
        yield Finding(None, None, LOOKUP, f"is damaged: it has not the digest in {LOOKUP_SUM}")
        return
    try:
        with closing(sqlite3.connect(f"{(path / LOOKUP).resolve().as_uri()}?mode=ro", uri=True)) as db:
            whole = db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            size, root = db.execute("SELECT size, root FROM known").fetchone() or (0, None)
            rows = db.execute("SELECT number, key, erased FROM entries").fetchall()
    except (sqlite3.DatabaseError, TypeError):
        yield Finding(None, None, LOOKUP, "is damaged: it cannot be read")
        return
    if not whole or size > checkpoint.size:
        yield Finding(None, None, LOOKUP, "is damaged, or of another log")
        return
    tiles = Tiles(path, size)
    try:
        right = root is None or bytes(root) == tiles.root()
        erased = {entry.index for _, entry in tiles.erasures()}
        logged = {(number, key, int(number in erased)) for number, key in tiles.keys(0)}
    except DamagedError:
        return  # a finding of the verification
    if not right or set(rows) != logged:
        yield Finding(None, None, LOOKUP, "contradicts the log")


def _key_tree(path: Path, checkpoint: Checkpoint) -> Iterator[Finding]:
    """Whether the key tree's file, where there is one, is of the tree that is signed."""
    if checkpoint.keys is not None and not is_sound(path, checkpoint.keys):
        yield Finding(None, None, KEY_TREE, "is damaged, or of another tree than the signed one")


def _tail(path: Path, checkpoint: Checkpoint) -> Iterator[Finding]:
    """What lies after the published log, and an erasure that was not finished."""
    try:
        rows = list(Manifest(path, checkpoint.size))
    except DamagedError:
        return  # a finding of the verification
    after = list(rows_from(path, len(rows)))
    while after and after[-1] is None and not _is_torn(path, len(rows) + len(after) - 1):
        after.pop()  # zeros that a writer laid ahead
    if after:
        reason = (
            f"holds {len(after)} rows after the checkpoint: the next writer takes in those that are whole"
        )
        yield Finding(None, None, MANIFEST, reason)
    known = [*rows, *(row for row in after if row)]
    ends: dict[str, int] = {}
    for row in known:
        ends[row.file] = max(ends.get(row.file, 0), row.end)
    for file in sorted((path / MANIFEST).parent.glob("*.arrows")):
        name = f"segments/{file.name}"
        if name not in ends:
            yield Finding(None, None, name, "is led to by no row: the next writer removes it")
        elif not after and file.stat().st_size > ends[name] and known[-1].file == name:
            yield Finding(None, None, name, "holds bytes after its last block: the next writer cuts them off")
    if not (path / INTENT).exists():
        yield from _remains(path, known)
    else:
        reason = "records an interrupted erasure: the next writer finishes it"
        try:
            decode_intent((path / INTENT).read_bytes())
        except DamagedError as error:
            reason = error.reason
        yield Finding(None, None, INTENT, reason)


def _remains(path: Path, rows: Sequence[Extent]) -> Iterator[Finding]:
    """Segments with something where no block lies: what was there was overwritten with zeros."""
    for name, lying in by_segment(rows).items():
        with suppress(FileNotFoundError), (path / name).open("rb") as file:  # a finding of the verification
            fd = file.fileno()
            # What follows the last block of all is an append's.
            size = lying[-1].end if name == rows[-1].file else os.fstat(fd).st_size
            if any(any(filled(fd, *gap)) for gap in gaps(lying, size)):
                yield Finding(None, None, name, "has something where no block lies: it was not erased")


def _is_torn(path: Path, number: int) -> bool:
    with (path / MANIFEST).open("rb") as file:
        file.seek(number * ROW_BYTES)
        return any(file.read(ROW_BYTES))


def _leftovers(path: Path, checkpoint: Checkpoint) -> Iterator[Finding]:
    staging = path / STAGING
    if staging.is_dir() and any(staging.iterdir()):
        yield Finding(None, None, STAGING, "holds files of an interrupted writer")
    for file in _stray_tiles(path, checkpoint):
        yield Finding(None, None, str(file.relative_to(path)), "is of no tree up to the checkpoint")


def _stray_tiles(path: Path, checkpoint: Checkpoint) -> Sequence[Path]:
    """Tiles and bundles beyond the published tree."""
    tiles = Tiles(path, checkpoint.size)
    stray = []
    for file in sorted((path / "tile").rglob("*")):
        if not file.is_file():
            continue
        match = _TILE.fullmatch(str(file.relative_to(path / "tile")))
        if match is None:
            stray.append(file)
            continue
        level = None if match[1] == "entries" else int(match[1])
        number = int(re.sub("[x/]", "", match[2]))
        if int(match[3] or WIDTH) > tiles.width(level, number):
            stray.append(file)
    return stray


def _wrong_tiles(path: Path, checkpoint: Checkpoint) -> list[Tile]:
    """The tiles and bundles of this tree that are not there as they should be, from the segments.

    None where these do not lead to the signed root: then it is not known what the tiles should be.
    """
    segments = Segments(path, checkpoint.size)
    stored = Tiles(path, checkpoint.size)
    edge, wrong = Edge(), {}
    for number in range(len(segments.manifest)):
        block = segments.block(number)
        edge, grown = grow(edge, block.entries())
        for tile in grown:
            if tile.width == stored.width(tile.level, tile.number) and not _is_there(path, tile):
                wrong[tile.path] = tile
    return list(wrong.values()) if edge.root == checkpoint.root else []


def _is_there(path: Path, tile: Tile) -> bool:
    try:
        return (path / tile.path).read_bytes() == tile.data
    except FileNotFoundError:
        return False
