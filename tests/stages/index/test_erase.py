"""What is erased is gone from the disk, stays gone, and the log still verifies."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from stages.base import Reason
from stages.batches import Sealed
from stages.encrypt.keys.folder import new_keys
from stages.encrypt.keys.worker import load_signer
from stages.encrypt.lwe.scheme import Encryptor
from stages.encrypt.public.folder import load_public
from stages.index import erase as erasing
from stages.index import publish
from stages.index import reader as reading
from stages.index.check.verify import verify
from stages.index.compact import compact
from stages.index.erase import erase
from stages.index.errors import DamagedError, ErasedError, IndexStoreError
from stages.index.log.erasure import Cause, Erasure, decode_entry
from stages.index.log.leaf import LeafError
from stages.index.options import IndexOptions
from stages.index.reader import open_reader
from stages.index.session import open_writer
from stages.index.stage import Append
from stages.index.stats import stats
from stages.index.store import segments
from stages.index.store.identity import INTENT
from stages.index.store.lookup import LOOKUP
from stages.index.store.manifest import MANIFEST, Manifest
from stages.index.store.tiles import Tiles
from stages.index.verifier import verify_proof
from tests.pipeline.queries.encrypted import D, sealed_block, unit_rows
from tests.stages.index.conftest import MakeBlock
from tests.stages.index.test_recovery import LOSSES, Disk

pytestmark = pytest.mark.usefixtures("fast_disk")
MakeIndex = Callable[..., list[Sealed]]
OPTIONS = IndexOptions(segment_bytes=1 << 14)
ROWS = [200, 300, 40, 7]
GONE = (3, 4, 205, 546)


def keys_of(blocks: list[Sealed]) -> list[bytes]:
    return [key for block in blocks for key in block.rows.keys]


def run(path: Path, *indices: int, cause: Cause = Cause.REQUEST) -> int:
    listed = dict(open_reader(path).listed())
    with open_writer(path, OPTIONS) as writer:
        return erase(writer, {index: listed[index] for index in indices}, cause)


def everything(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted((path / "segments").iterdir()))


@pytest.fixture
def index(tmp_path: Path, make_index: MakeIndex) -> tuple[Path, list[Sealed]]:
    return tmp_path / "index", make_index(tmp_path / "index", ROWS, segment_bytes=1 << 14)


def test_an_erased_record_is_gone_and_the_others_are_not(index: tuple[Path, list[Sealed]]) -> None:
    """Its words are nowhere on the disk; the log only grew, and verifies."""
    path, blocks = index
    before = open_reader(path)
    words = [(block.columns_ND[row], block) for block in blocks for row in range(len(block))]
    assert run(path, *GONE) == len(GONE)
    data = everything(path)
    for number, (column, _) in enumerate(words):
        assert (column.tobytes() in data) == (number not in GONE)
    assert verify(path).errors == ()
    after = open_reader(path)
    assert (after.size, after.records) == (547 + len(GONE), 547)
    assert verify_proof(after.prove_growth(before.checkpoint).encode(), after.log).claim == "growth"
    keys = keys_of(blocks)
    assert list(after.keys()) == [key for number, key in enumerate(keys) if number not in GONE]
    for number, key in enumerate(keys):
        if number in GONE:
            assert after.find(key) is None
            with pytest.raises(ErasedError, match=f"record {number} was erased on 20"):
                after.record(number)
        elif number % 50 == 0:
            assert after.find(key) == number
            assert np.array_equal(after.record(number).column_D, words[number][0])


def test_searches_do_not_see_erased_records(index: tuple[Path, list[Sealed]]) -> None:
    """Blocks come in runs between them, with the right numbers."""
    path, blocks = index
    run(path, *GONE)
    seen = {
        block.first_index + row: block.columns_ND[row].tobytes()
        for block in open_reader(path).blocks()
        for row in range(len(block))
    }
    columns = [column.tobytes() for block in blocks for column in block.columns_ND]
    assert seen == {number: column for number, column in enumerate(columns) if number not in GONE}


def test_the_log_says_what_was_erased_when_and_why(index: tuple[Path, list[Sealed]]) -> None:
    """In entries of their own, which are no records."""
    path, blocks = index
    run(path, 5, cause=Cause.RETENTION)
    entry = decode_entry(open_reader(path).prove(547).record)
    assert isinstance(entry, Erasure)
    assert (entry.key, entry.index, entry.cause) == (keys_of(blocks)[5], 5, Cause.RETENTION)
    assert decode_entry(entry.encode()) == entry
    with pytest.raises(IndexError, match="entry 547 of the index is no record"):
        open_reader(path).record(547)
    figures = stats(path)
    assert (figures.size, figures.records, figures.erased) == (548, 546, 1)
    for damaged in (entry.encode()[:-1], entry.encode()[:-4] + b"\x09\0\0\0"):
        with pytest.raises(LeafError):
            decode_entry(damaged)


def test_an_erasure_is_proven_to_a_stranger(index: tuple[Path, list[Sealed]]) -> None:
    """Record and erasure under one checkpoint, with the cache or without; not at an earlier checkpoint."""
    path, blocks = index
    keys, before = keys_of(blocks), open_reader(path)
    run(path, *GONE)
    run(path, 6, cause=Cause.RETENTION)
    for _ in range(2):
        reader = open_reader(path)
        found = [reader.find_erased(keys[number]) for number in (*GONE, 6, 5)]
        assert found == [*GONE, 6, None]
        causes = [verify_proof(reader.prove_erasure(one).encode(), reader.log).erased for one in (*GONE, 6)]
        assert [one and (one.entry, one.cause) for one in causes] == [
            *((len(keys) + i, "request") for i in range(len(GONE))),
            (len(keys) + len(GONE), "retention"),
        ]
        (path / LOOKUP).unlink(missing_ok=True)
    assert before.find_erased(keys[3]) is None
    for wrong in (before, reader):
        with pytest.raises(IndexStoreError, match=r"does not erase \d+"):
            wrong.prove_erasure(3 if wrong is before else 5)


def test_an_erased_key_is_rejected_by_name(index: tuple[Path, list[Sealed]], tmp_path: Path) -> None:
    """Neither silently dropped nor taken again; also when the cache was lost."""
    path, blocks = index
    new_keys(tmp_path / "keys", None)
    record_ids = blocks[0].rows.keys
    encryptor = Encryptor(load_public(tmp_path / "keys").lwe)
    block = sealed_block(encryptor, unit_rows(len(record_ids), 0), record_ids)
    block = replace(block, signature=load_signer(tmp_path / "keys").sign(block))
    run(path, 1, 2)
    for _ in range(2):
        with Append(OPTIONS, path, tmp_path / "keys", bytes(32), D).open() as append:
            split = append(block)
        assert [(one.key, one.reason) for one in split.rejected] == [
            (key, Reason.ERASED) for key in blocks[0].rows.keys[1:3]
        ]
        assert len(split.kept) == 198
        assert not split.kept.fresh_N.any()
        (path / "lookup.sqlite").unlink()


def test_erasing_twice_changes_nothing_and_a_wrong_key_is_refused(index: tuple[Path, list[Sealed]]) -> None:
    """One entry a record."""
    path, blocks = index
    key = keys_of(blocks)[7]
    run(path, 7)
    with open_writer(path, OPTIONS) as writer:
        assert erase(writer, {7: key}, Cause.REQUEST) == 0
        with pytest.raises(IndexStoreError, match="does not have the record id"):
            erase(writer, {8: key}, Cause.REQUEST)
    assert open_reader(path).size == 548


def test_a_whole_block_can_be_erased(index: tuple[Path, list[Sealed]]) -> None:
    """Its head goes with it."""
    path, blocks = index
    run(path, *range(540, 547))
    assert blocks[3].head_Dn.tobytes() not in everything(path)
    assert verify(path).errors == ()
    assert len(list(open_reader(path).keys())) == 540


def test_a_pinned_reader_follows(index: tuple[Path, list[Sealed]]) -> None:
    """It finds the other records where they are now, and says of the erased one what happened."""
    path, blocks = index
    pinned = open_reader(path)
    list(pinned.blocks())
    run(path, *GONE)
    with open_writer(path, OPTIONS) as writer:
        compact(writer)
    assert pinned.record(6).key == keys_of(blocks)[6]
    with pytest.raises(ErasedError, match="after this checkpoint"):
        pinned.record(3)
    assert sum(map(len, pinned.blocks())) == 547 - len(GONE)


def test_a_record_in_hand_does_not_change(index: tuple[Path, list[Sealed]]) -> None:
    """Though the block it was read from is overwritten meanwhile: another record of it is erased."""
    path, blocks = index
    record = open_reader(path).record(5)
    run(path, 3)
    assert np.array_equal(record.head_Dn, blocks[0].head_Dn)
    assert np.array_equal(record.column_D, blocks[0].columns_ND[5])


@pytest.mark.parametrize(
    ("module", "name"), [(segments, "decode_block"), (reading, "_copied")], ids=["decoded", "copied"]
)
def test_a_block_that_moves_while_it_is_read_is_read_again(
    index: tuple[Path, list[Sealed]], monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str
) -> None:
    """Overwritten bytes are never taken for damage, however often that happens."""
    path, blocks = index
    reader, left = open_reader(path), [9, 7, 3]
    reader.record(5)  # its block's bytes are checked now
    call: Callable[..., object] = getattr(module, name)

    def moving(*arguments: object) -> object:
        if left:
            monkeypatch.setattr(module, name, call)
            run(path, left.pop())
            monkeypatch.setattr(module, name, moving)
        return call(*arguments)

    monkeypatch.setattr(module, name, moving)
    assert np.array_equal(reader.record(5).column_D, blocks[0].columns_ND[5])
    assert not left


def test_bytes_may_be_missing_only_where_the_log_says_so(index: tuple[Path, list[Sealed]]) -> None:
    """A manifest and a segment that leave out a record without its erasure are found."""
    path, blocks = index
    run(path, 3)
    with open_writer(path, OPTIONS) as writer:
        erasing._move(writer, {9: 547})  # 547 is the erasure of record 3
    (finding,) = verify(path).errors
    assert (finding.index, finding.reason) == (9, "the record is missing, and no entry erases it")
    with pytest.raises(DamagedError, match="lacks record 9, and no entry"):
        open_reader(path).record(9)
    assert keys_of(blocks)[9] not in list(open_reader(path).keys())


def test_an_erasure_begins_only_where_everything_before_it_is_published(
    index: tuple[Path, list[Sealed]], make_block: MakeBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes no checkpoint refuses the erasure, and nothing is left to be finished later."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path, blocks = index
    monkeypatch.setattr(publish, "PUBLISH_S", 60.0)
    with suppress(OSError), open_writer(path, OPTIONS) as writer:
        writer.append(make_block(9, 4))
        monkeypatch.setattr(publish.Publisher, "_publish", full)
        with pytest.raises(OSError, match="No space"):
            erase(writer, {3: keys_of(blocks)[3]}, Cause.REQUEST)
    assert not (path / INTENT).exists()


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.slow
def test_an_erasure_that_dies_anywhere_is_finished(tmp_path: Path, make_index: MakeIndex) -> None:
    """By the next writer; and nothing else is lost."""
    path = tmp_path / "index"
    blocks = make_index(path, [5, 3], segment_bytes=1 << 14)
    column = blocks[0].columns_ND[3].tobytes()
    for dies_at in range(100):
        copy = shutil.copytree(path, tmp_path / str(dies_at))
        left = [dies_at]
        with pytest.MonkeyPatch.context() as patch:
            for name in ("pwrite", "fdatasync", "fsync", "replace", "unlink", "open"):
                patch.setattr(os, name, dying(getattr(os, name), left))
            done = False
            with suppress(Killed):
                run(copy, 3, 6)
                done = True
        begun = done or (copy / INTENT).exists() or open_reader(copy).size > 8
        assert verify(copy).ok or (copy / INTENT).exists()
        with open_writer(copy, OPTIONS):
            pass
        assert verify(copy).errors == ()
        assert (column in everything(copy)) == (not begun)
        assert open_reader(copy).size == (10 if begun else 8)
        assert not (copy / INTENT).exists()
        shutil.rmtree(copy)
        if done:
            break
    assert dies_at > 30


def test_what_was_erased_does_not_come_back_after_a_power_cut(tmp_path: Path, make_index: MakeIndex) -> None:
    """The zeros over a column are durable before the erasure is called done."""
    path = tmp_path / "index"
    blocks = make_index(path, [40, 30])
    column = blocks[0].columns_ND[3].tobytes()
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch, 1 << 30, LOSSES["all"])
        assert run(path, 3) == 1
    disk.fail(path)
    assert column not in everything(path)
    assert verify(path).errors == ()


def dying(call: Callable[..., object], left: list[int]) -> Callable[..., object]:
    """The call, until so many calls were made."""

    def counted(*args: object, **kwargs: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return call(*args, **kwargs)

    return counted


def test_compaction_drops_dead_bytes_and_merges(index: tuple[Path, list[Sealed]]) -> None:
    """Fewer segments, fewer bytes, the same log; appends go on after it."""
    path, blocks = index
    root = run(path, *range(100)) and open_reader(path).root
    with open_writer(path, IndexOptions(segment_bytes=1 << 20)) as writer:
        found = compact(writer)
        assert (found.segments_after, found.bytes_after < found.bytes_before) == (1, True)
        assert open_reader(path).root == root
        writer.append(blocks[0])
        assert compact(writer).segments_after == 1
    assert verify(path).errors == ()
    assert len(list((path / "segments").glob("*.arrows"))) == 1
    run(path, 300)
    assert verify(path).errors == ()


def test_sealed_segments_are_never_written_again(
    index: tuple[Path, list[Sealed]], make_block: Callable[..., Sealed]
) -> None:
    """A segment that has a successor keeps its bytes and its time while the log grows."""
    path, _ = index
    sealed = sorted((path / "segments").glob("*.arrows"))[:-1]
    before = [(file.stat().st_mtime_ns, file.read_bytes()) for file in sealed]
    with open_writer(path, OPTIONS) as writer:
        for seed in range(50, 55):
            writer.append(make_block(seed, 90))
    assert [(file.stat().st_mtime_ns, file.read_bytes()) for file in sealed] == before
    assert len(sealed) >= 2


def test_a_damaged_intent_is_not_guessed_at(index: tuple[Path, list[Sealed]]) -> None:
    """Whoever asked has to ask again."""
    path, _ = index
    (path / INTENT).write_bytes(b"0" * 64 + b"\n{}\n")
    with pytest.raises(DamagedError, match="repeat the erasure"), open_writer(path, OPTIONS):
        pass


def test_rows_say_when_they_were_committed(index: tuple[Path, list[Sealed]]) -> None:
    """An erasure does not make a block younger."""
    path, _ = index
    before = [row.time_ms for row in Manifest(path, 547)]
    run(path, 3)
    assert [row.time_ms for row in Manifest(path, 548)][:4] == before
    assert (path / MANIFEST).exists()
    assert [entry.index for _, entry in Tiles(path, 548).erasures()] == [3]
