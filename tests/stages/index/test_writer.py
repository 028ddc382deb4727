"""Appending: what comes back, what is skipped, what ends the writer."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from stages.batches import Sealed
from stages.errors import UnwritableError
from stages.index.check.fsck import fsck
from stages.index.check.verify import verify
from stages.index.errors import BusyError, IndexStoreError, NotAnIndexError
from stages.index.options import IndexOptions
from stages.index.reader import open_reader
from stages.index.session import open_writer
from stages.index.store.manifest import Extent
from stages.index.store.tail import Tail
from stages.index.verifier import leaf_hash

pytestmark = pytest.mark.usefixtures("fast_disk")
MakeBlock = Callable[..., Sealed]
MakeIndex = Callable[..., list[Sealed]]
OPTIONS = IndexOptions()


def test_entries_say_where_each_record_stands(tmp_path: Path, make_block: MakeBlock) -> None:
    """Index and leaf hash per row, in the batch's order, across blocks."""
    one, two = make_block(1, 300), make_block(2, 5)
    with open_writer(tmp_path, OPTIONS) as writer:
        first, second = writer.append(one), writer.append(two)
    reader = open_reader(tmp_path)
    assert first.index_N.tolist() == list(range(300))
    assert second.index_N.tolist() == list(range(300, 305))
    assert second.index_N.dtype == np.int64
    assert first.fresh_N.all()
    assert second.fresh_N.all()
    assert second.keys == two.rows.keys
    hashes = [leaf_hash(reader.record(index).leaf.encode()) for index in range(300, 305)]
    assert second.leaf_hashes == tuple(hashes)


def test_a_retried_batch_changes_nothing(tmp_path: Path, make_block: MakeBlock) -> None:
    """Every row comes back with its old place, and the log does not grow."""
    with open_writer(tmp_path, OPTIONS) as writer:
        before = writer.append(make_block(1, 10))
        again = writer.append(make_block(1, 10))
    with open_writer(tmp_path, OPTIONS) as writer:
        later = writer.append(make_block(1, 10))
    for entries in (again, later):
        assert entries.index_N.tolist() == before.index_N.tolist()
        assert entries.leaf_hashes == before.leaf_hashes
        assert not entries.fresh_N.any()
    assert open_reader(tmp_path).size == 10


def test_only_new_keys_of_a_batch_are_appended(tmp_path: Path, make_block: MakeBlock) -> None:
    """Keys that are there, or twice in the batch, are skipped; the others keep their position."""
    a, b, c, d = (bytes([letter]) * 32 for letter in b"abcd")
    mixed = make_block(2, 5, [c, a, d, c, b])
    with open_writer(tmp_path, OPTIONS) as writer:
        writer.append(make_block(1, 2, [a, b]))
        entries = writer.append(mixed)
    assert entries.index_N.tolist() == [2, 0, 3, 2, 1]
    assert entries.fresh_N.tolist() == [True, False, True, False, False]
    reader = open_reader(tmp_path)
    assert list(reader.keys()) == [a, b, c, d]
    record = reader.record(3)
    assert (record.key, record.position) == (d, 2)
    assert np.array_equal(record.column_D, mixed.columns_ND[2])
    assert verify(tmp_path).ok


def test_an_empty_batch_is_answered(tmp_path: Path, make_block: MakeBlock) -> None:
    """With no entries, and no block."""
    with open_writer(tmp_path, OPTIONS) as writer:
        assert len(writer.append(make_block(1, 0))) == 0
    assert verify(tmp_path).ok
    assert open_reader(tmp_path).size == 0


def test_segments_are_rotated_by_size(tmp_path: Path, make_block: MakeBlock) -> None:
    """A segment that has reached the limit gets no further block."""
    with open_writer(tmp_path, IndexOptions(segment_bytes=1 << 12)) as writer:
        for seed in range(12):
            writer.append(make_block(seed, 20))
    sizes = [path.stat().st_size for path in sorted((tmp_path / "segments").glob("*.arrows"))]
    assert len(sizes) > 2
    assert all(size >= 1 << 12 for size in sizes[:-1])
    assert verify(tmp_path).ok


def test_a_second_writer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the first is open, and not after."""
    monkeypatch.setattr("stages.index.session.LOCK_WAIT_S", 0.0)
    with (
        open_writer(tmp_path, OPTIONS),
        pytest.raises(BusyError, match=f"another writer holds .*pid {os.getpid()}"),
        open_writer(tmp_path, OPTIONS),
    ):
        pass
    with open_writer(tmp_path, OPTIONS):
        pass


def test_a_full_disk_ends_the_writer(
    tmp_path: Path, make_block: MakeBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is raised, nothing more is taken, and the next writer goes on."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with open_writer(tmp_path, OPTIONS) as writer:
        writer.append(make_block(1, 10))
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            with pytest.raises(OSError, match="No space left"):
                writer.append(make_block(2, 10))
        with pytest.raises(IndexStoreError, match="open the index again"):
            writer.append(make_block(3, 10))
    with open_writer(tmp_path, OPTIONS) as writer:
        assert writer.append(make_block(2, 10)).index_N.tolist() == list(range(10, 20))
    assert verify(tmp_path).ok


def test_a_wrong_shape_is_a_bug_and_harms_nothing(tmp_path: Path, make_block: MakeBlock) -> None:
    """It raises before anything is written."""
    block = make_block(1, 10)
    with open_writer(tmp_path, OPTIONS) as writer:
        with pytest.raises(ValueError, match="no block of 10"):
            writer.append(replace(block, columns_ND=block.columns_ND[:, :-1]))
        assert writer.append(block).fresh_N.all()


def test_an_index_is_not_made_among_other_files(tmp_path: Path) -> None:
    """The foreign file is named, and nothing is added."""
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(NotAnIndexError, match=r"holds holiday\.jpg"), open_writer(tmp_path, OPTIONS):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_an_unwritable_place_is_one_sentence(tmp_path: Path) -> None:
    """A file where the directory should be, for instance."""
    (tmp_path / "file").touch()
    with (
        pytest.raises(UnwritableError, match="cannot be written"),
        open_writer(tmp_path / "file" / "index", OPTIONS),
    ):
        pass


def test_the_signing_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Its mode is 0600 from the start."""
    with open_writer(tmp_path / "new" / "index", OPTIONS):
        assert (tmp_path / "new" / "index" / "signing.key").stat().st_mode & 0o777 == 0o600


def test_two_indexes_have_two_names(tmp_path: Path) -> None:
    """So that a checkpoint of one does not pass for the other's."""
    names = set()
    for name in "ab":
        with open_writer(tmp_path / name, OPTIONS):
            names.add(open_reader(tmp_path / name).checkpoint.split(b"\n")[0])
    assert len(names) == 2


@pytest.mark.parametrize("value", [0, -1, "big"])
def test_options_are_checked(value: object) -> None:
    """A bad value names the key."""
    with pytest.raises(ValidationError, match="segment_bytes"):
        IndexOptions(segment_bytes=value)  # type: ignore[arg-type]  # what a configuration file may hold


def test_a_writer_whose_lock_was_taken_cuts_nothing_off(tmp_path: Path, make_block: MakeBlock) -> None:
    """As it closes, it leaves alone what lies after its last block: that is another writer's."""
    blocks = [make_block(seed, 10) for seed in range(3)]
    stale = open_writer(tmp_path, IndexOptions())
    stale.__enter__().append(blocks[0])
    (tmp_path / "lock").unlink()
    with open_writer(tmp_path, IndexOptions()) as writer:
        writer.append(blocks[1])
        with pytest.raises(BusyError, match="was taken from this writer"):
            stale.__exit__(None, None, None)
        writer.append(blocks[2])
    assert list(open_reader(tmp_path).keys()) == [key for block in blocks for key in block.rows.keys]
    assert verify(tmp_path).ok


def test_a_writer_whose_lock_was_taken_publishes_nothing(tmp_path: Path, make_block: MakeBlock) -> None:
    """Its successor's tiles and staged files stay as they are."""
    stale = open_writer(tmp_path, OPTIONS)
    writer = stale.__enter__()
    writer.append(make_block(0, 10))
    writer.publish()
    writer.append(make_block(1, 5))
    (tmp_path / "lock").unlink()
    with open_writer(tmp_path, OPTIONS) as successor:
        successor.append(make_block(2, 60))
        successor.publish()
        (tmp_path / "staging" / "0").write_bytes(b"on its way")
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        with pytest.raises(BusyError):
            writer.publish()
        stale.__exit__(None, None, None)
        assert {path: path.read_bytes() for path in before} == before


def test_a_writer_whose_lock_is_taken_while_it_commits_acknowledges_nothing(
    tmp_path: Path, make_block: MakeBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row of the manifest may be written over by the successor, whose records are the log's."""
    enter = Tail.enter

    def late(tail: Tail, extent: Extent, block: int) -> None:
        enter(tail, extent, block)
        (tmp_path / "lock").unlink(missing_ok=True)

    stale = open_writer(tmp_path, OPTIONS)
    writer = stale.__enter__()
    with monkeypatch.context() as patch:
        patch.setattr(Tail, "enter", late)
        with pytest.raises(BusyError, match="was taken from this writer"):
            writer.append(make_block(1, 10))
    with pytest.raises(IndexStoreError, match="open the index again"):
        writer.append(make_block(2, 10))
    with open_writer(tmp_path, OPTIONS) as successor:
        successor.append(make_block(3, 10))
        stale.__exit__(None, None, None)
    assert verify(tmp_path).ok


def test_tiles_that_a_dead_writer_left_are_not_kept_as_states_of_the_log(
    tmp_path: Path, make_index: MakeIndex, make_block: MakeBlock
) -> None:
    """Another log's partial tiles, wider than what is committed, are gone once the log has outgrown them."""
    make_index(tmp_path / "dead", [100, 60])
    make_index(tmp_path / "index", [100])
    left = {file.relative_to(tmp_path / "dead") for file in (tmp_path / "dead").glob("tile/**/000.p/160")}
    assert len(left) == 2
    for name in left:
        shutil.copy2(tmp_path / "dead" / name, tmp_path / "index" / name)
    with open_writer(tmp_path / "index", OPTIONS) as writer:
        for seed, rows in ((7, 30), (8, 50)):
            writer.append(make_block(seed, rows))
            writer.publish()
    assert verify(tmp_path / "index").ok
    for folder in (tmp_path / "index").glob("tile/**/*.p"):
        states = sorted(folder.iterdir(), key=lambda file: int(file.name))
        assert [state.name for state in states] == ["100", "130", "180"]
        assert all(states[-1].read_bytes().startswith(state.read_bytes()) for state in states)


@pytest.mark.parametrize("place", ["key", "number"])
def test_a_cache_that_rotted_does_not_decide_what_is_there(
    tmp_path: Path, make_block: MakeBlock, place: str
) -> None:
    """One bit of it: nothing is appended twice, and no record is said to be where it is not."""
    block = make_block(1, 10)
    with open_writer(tmp_path, OPTIONS) as writer:
        writer.append(block)
    cache = tmp_path / "lookup.sqlite"
    data = bytearray(cache.read_bytes())
    at = data.find(block.rows.keys[3])
    data[at + (31 if place == "key" else 32)] ^= 0x04
    cache.write_bytes(data)
    with open_writer(tmp_path, OPTIONS) as writer:
        entries = writer.append(block)
    assert entries.index_N.tolist() == list(range(10))
    assert not entries.fresh_N.any()


def test_a_key_that_comes_twice_in_the_log_does_not_close_it(tmp_path: Path, make_block: MakeBlock) -> None:
    """However it got there: the cache can be made, the first record counts."""
    block = make_block(1, 10)
    with open_writer(tmp_path, OPTIONS) as writer:
        writer.append(block)
        writer.publish()
        writer._lookup._db.execute("DELETE FROM entries")
        writer.append(block)
    (tmp_path / "lookup.sqlite").unlink()
    for _ in range(2):
        with open_writer(tmp_path, OPTIONS) as writer:
            assert writer.size == 20
            assert writer.append(block).index_N.tolist() == list(range(10))


def test_a_block_in_vain_at_the_beginning_of_a_segment_leaves_no_file(
    tmp_path: Path, make_block: MakeBlock
) -> None:
    """Some of its keys are known, so it is written again, to the same segment."""
    block = make_block(1, 100)
    options = IndexOptions(segment_bytes=1 << 12)
    for new in ([b"n" * 32], []):
        with open_writer(tmp_path, options) as writer:
            writer.append(block)
            keys = block.rows.keys
            writer.append(make_block(2, 4, [*(new or keys[5:6]), *keys[:3]]))
        assert [path.name for path in sorted(tmp_path.glob("segments/*.arrows"))] == [
            "000000.arrows",
            "000001.arrows",
        ]
        assert not fsck(tmp_path).findings
