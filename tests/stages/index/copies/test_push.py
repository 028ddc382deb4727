"""Pushing a log: what is at the other end is a valid log whenever one looks."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest

from stages.index.check.verify import verify
from stages.index.compact import compact
from stages.index.copies.bucket import Store, StoreError, open_store
from stages.index.copies.pull import pull
from stages.index.copies.push import _alone, push
from stages.index.erase import erase
from stages.index.errors import BusyError, DamagedError, ForkedError, IndexStoreError
from stages.index.log.erasure import Cause
from stages.index.options import IndexOptions
from stages.index.reader import open_reader
from stages.index.session import open_writer
from stages.index.store.identity import CHECKPOINT
from tests.stages.index.conftest import SMALL, MakeBlock, MakeIndex
from tests.stages.index.stores import contents, cut_store

pytestmark = pytest.mark.usefixtures("fast_disk")
ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def there(tmp_path: Path) -> Store:
    return open_store((tmp_path / "there").as_uri())


def erase_one(index: Path, number: int) -> bytes:
    """Erase a record; its sealed metadata as it was."""
    with open_writer(index, SMALL) as writer:
        record = open_reader(index).record(number)
        assert erase(writer, {number: record.key}, Cause.REQUEST) == 1
    return record.sealed + bytes(record.column_D.data)


def pulled(there: Store, folder: Path) -> int:
    """The size of the log there, every byte of which is sound."""
    size = pull(there, folder).size
    assert verify(folder).errors == ()
    return size


def test_what_is_pushed_is_the_log_and_no_secret(index: Path, there: Store, tmp_path: Path) -> None:
    """Every object is named by its digest or part of the signed tree; key, lock and caches stay at home."""
    done = push(index, there)
    found = contents(tmp_path / "there")
    assert done.objects == len(found)
    assert done.bytes == sum(map(len, found.values()))
    for name, data in found.items():
        folder, _, rest = name.partition("/")
        if folder in ("blocks", "manifest"):
            assert sha256(data).hexdigest() == rest
        else:
            assert folder in ("tile", "listing", "checkpoint", "checkpoint.pub", "index.json")
    note = (index / CHECKPOINT).read_bytes()
    assert found[CHECKPOINT] == note
    assert [name for name in found if name.startswith("listing/")] == [f"listing/{sha256(note).hexdigest()}"]
    secret = (index / "signing.key").read_bytes()
    assert all(line not in data for line in secret.splitlines()[1:2] for data in found.values())


def test_what_is_there_is_not_sent_again(
    index: Path, there: Store, tmp_path: Path, make_block: MakeBlock
) -> None:
    """A second push sends nothing, one more block sends that block and the edge of the tree."""
    push(index, there)
    again = push(index, there)
    assert (again.objects, again.removed) == (0, 0)
    before = contents(tmp_path / "there")
    with open_writer(index, SMALL) as writer:
        writer.append(make_block(9, 20))
    push(index, there)
    after = contents(tmp_path / "there")
    assert len([name for name in after if name.startswith("blocks/") and name not in before]) == 1
    kept = [name for name in before if name in after and name != CHECKPOINT]
    assert all(before[name] == after[name] for name in kept)
    assert pulled(there, tmp_path / "copy") == 387


def test_compaction_sends_what_it_moved_and_no_more(index: Path, there: Store, tmp_path: Path) -> None:
    """Blocks that stay where an Arrow stream begins keep their bytes; the rest is replaced, none is left."""
    push(index, there)
    with open_writer(index, IndexOptions()) as writer:
        compact(writer)
    push(index, there)
    assert len(list((tmp_path / "there" / "blocks").iterdir())) == 4
    assert pulled(there, tmp_path / "copy") == 367


def test_erased_bytes_are_gone_there_too(index: Path, there: Store, tmp_path: Path) -> None:
    """Neither in an object nor in a copy that was pulled before and is pulled again."""
    push(index, there)
    pull(there, tmp_path / "copy")
    sealed = open_reader(index).record(42).sealed
    column = bytes(open_reader(index).record(42).column_D.data)
    for folder in (tmp_path / "there", tmp_path / "copy"):
        assert any(column in data for data in contents(folder).values())
    erase_one(index, 42)
    push(index, there)
    assert pulled(there, tmp_path / "copy") == 368
    for folder in (index, tmp_path / "there", tmp_path / "copy"):
        assert not any(column in data or sealed in data for data in contents(folder).values()), folder
    assert 42 not in dict(open_reader(tmp_path / "copy").listed())


def test_a_block_of_a_push_that_was_cut_is_erased_too(
    index: Path, there: Store, tmp_path: Path, make_block: MakeBlock
) -> None:
    """What was sent and never became part of the log there goes with the next push."""
    push(index, there)
    with open_writer(index, SMALL) as writer:
        writer.append(make_block(9, 20))
    column = bytes(open_reader(index).record(370).column_D.data)
    before = contents(tmp_path / "there")
    for left in range(100):
        with pytest.raises(StoreError):
            push(index, cut_store(str(tmp_path / "there"), left))
        if any(column in data for data in contents(tmp_path / "there").values()):
            break
    assert contents(tmp_path / "there")[CHECKPOINT] == before[CHECKPOINT]
    erase_one(index, 370)
    push(index, there)
    assert not any(column in data for data in contents(tmp_path / "there").values())


@pytest.mark.slow
def test_whatever_operation_fails_a_valid_log_is_there(
    make_index: MakeIndex, there: Store, tmp_path: Path, make_block: MakeBlock
) -> None:
    """For each operation: cut there, the log is the old or the new one; then a push completes it."""
    index = tmp_path / "index"
    make_index(index, [40, 5])
    push(index, there)
    shutil.copytree(tmp_path / "there", tmp_path / "old")
    with open_writer(index, SMALL) as writer:
        writer.append(make_block(9, 10))
    erase_one(index, 3)
    push(index, there)
    whole = contents(tmp_path / "there")
    sizes = []
    for left in range(1000):
        shutil.rmtree(tmp_path / "there")
        shutil.copytree(tmp_path / "old", tmp_path / "there")
        try:
            push(index, cut_store(str(tmp_path / "there"), left))
        except StoreError as error:
            assert "the wire was cut" in str(error)  # noqa: PT017 - after the last operation there is none
            sizes.append(pulled(there, tmp_path / f"copy-{left}"))
            push(index, there)
            assert contents(tmp_path / "there") == whole
        else:
            break
    assert sizes == sorted(sizes)
    assert set(sizes) == {45, 56}
    assert len(sizes) > 30


def test_a_first_push_that_is_cut_leaves_no_log_or_all_of_it(
    index: Path, there: Store, tmp_path: Path
) -> None:
    """Without a checkpoint there is none; the next push makes it."""
    with pytest.raises(StoreError):
        push(index, cut_store(str(tmp_path / "there"), 20))
    with pytest.raises(IndexStoreError, match="holds no log"):
        pull(there, tmp_path / "copy")
    push(index, there)
    assert pulled(there, tmp_path / "copy") == 367


def test_another_log_is_refused(index: Path, there: Store, tmp_path: Path, make_index: MakeIndex) -> None:
    """One with other keys, complete or just begun."""
    make_index(tmp_path / "other", [3])
    push(tmp_path / "other", there)
    before = contents(tmp_path / "there")
    with pytest.raises(ForkedError, match="holds another log"):
        push(index, there)
    (tmp_path / "there" / CHECKPOINT).unlink()
    with pytest.raises(ForkedError, match="holds another log"):
        push(index, there)
    assert contents(tmp_path / "there").items() <= before.items()


def test_a_log_that_forked_or_went_back_is_refused(
    index: Path, there: Store, tmp_path: Path, make_block: MakeBlock
) -> None:
    """What is there stays as it is."""
    shutil.copytree(index, tmp_path / "fork")
    with open_writer(index, SMALL) as writer:
        writer.append(make_block(9, 20))
    push(index, there)
    before = contents(tmp_path / "there")
    with pytest.raises(ForkedError, match="does not continue"):
        push(tmp_path / "fork", there)
    with open_writer(tmp_path / "fork", SMALL) as writer:
        writer.append(make_block(10, 30))
    with pytest.raises(ForkedError, match="does not continue"):
        push(tmp_path / "fork", there)
    assert contents(tmp_path / "there") == before


def test_a_damaged_block_or_checkpoint_is_named(index: Path, there: Store, tmp_path: Path) -> None:
    """What has rotted here does not get there; a checkpoint there that nobody signed stops the push."""
    segment = next((index / "segments").glob("*.arrows"))
    data = bytearray(segment.read_bytes())
    data[3000] ^= 1
    segment.write_bytes(data)
    with pytest.raises(DamagedError, match="segments/"):
        push(index, there)
    data[3000] ^= 1
    segment.write_bytes(data)
    push(index, there)
    note = (tmp_path / "there" / CHECKPOINT).read_bytes()
    (tmp_path / "there" / CHECKPOINT).write_bytes(note.replace(b"367", b"366"))
    with pytest.raises(DamagedError, match="checkpoint"):
        push(index, there)


def test_an_index_is_no_place_for_a_copy(index: Path, tmp_path: Path, make_index: MakeIndex) -> None:
    """Neither its own folder nor another writer's."""
    make_index(tmp_path / "other", [3])
    for folder in (index, tmp_path / "other"):
        before = contents(folder)
        with pytest.raises(IndexStoreError, match=r"signing\.key"):
            push(index, open_store(str(folder)))
        assert contents(folder) == before


def test_a_directory_is_pushed_once_at_a_time(index: Path, there: Store) -> None:
    """The second one would remove what the first has just sent."""
    with _alone(index), pytest.raises(BusyError):
        push(index, there)


def test_an_empty_log_and_one_that_is_written_to_can_be_pushed(
    there: Store, tmp_path: Path, make_block: MakeBlock
) -> None:
    """Only what is published goes; the writer is not concerned."""
    with open_writer(tmp_path / "index", SMALL) as writer:
        push(tmp_path / "index", there)
        assert pulled(there, tmp_path / "copy") == 0
        for number in range(4):
            writer.append(make_block(number, 90))
            push(tmp_path / "index", there)
            assert pulled(there, tmp_path / "copy") <= writer.size
    push(tmp_path / "index", there)
    assert pulled(there, tmp_path / "copy") == 360


def test_a_log_of_one_record_is_pushed_whole(there: Store, tmp_path: Path, make_index: MakeIndex) -> None:
    """Its first record is all of its tree."""
    make_index(tmp_path / "index", [1])
    push(tmp_path / "index", there)
    assert pulled(there, tmp_path / "copy") == 1


@pytest.mark.slow
def test_a_killed_push_loses_nothing(
    index: Path, there: Store, tmp_path: Path, make_block: MakeBlock
) -> None:
    """At random moments; what is there is a log every time, and in the end the whole one."""
    pauses = random.Random(2026)  # noqa: S311 - not for secrets
    push(index, there)
    with open_writer(index, SMALL) as writer:
        for number in range(20, 35):
            writer.append(make_block(number, 200))
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, __file__, str(index), there.base],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"pushing\n"
        time.sleep(pauses.uniform(0, 0.1))
        process.kill()
        process.communicate()
        assert pulled(there, tmp_path / "copy") in (367, 3367)
    push(index, there)
    assert pulled(there, tmp_path / "copy") == 3367
    assert not list((tmp_path / "there").glob("part/*"))


if __name__ == "__main__":
    sys.stdout.write("pushing\n")
    sys.stdout.flush()
    push(Path(sys.argv[1]), open_store(sys.argv[2]))
