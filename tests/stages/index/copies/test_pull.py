"""Pulling a log: what is kept was checked, and continues what was there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.index import erase as erasing
from stages.index.check.fsck import fsck
from stages.index.check.verify import verify
from stages.index.copies.bucket import Store, StoreError, open_store
from stages.index.copies.pull import pull
from stages.index.copies.push import push
from stages.index.erase import erase
from stages.index.errors import DamagedError, ForkedError, IndexStoreError, NotAnIndexError
from stages.index.log.erasure import Cause
from stages.index.reader import open_reader
from stages.index.session import open_writer
from stages.index.store.identity import CHECKPOINT, read_public_keys
from tests.stages.index.conftest import SMALL, MakeBlock, MakeIndex
from tests.stages.index.stores import contents, cut_store

pytestmark = pytest.mark.usefixtures("fast_disk")


@pytest.fixture
def there(index: Path, tmp_path: Path) -> Store:
    store = open_store(str(tmp_path / "there"))
    push(index, store)
    return store


def test_a_copy_answers_as_the_index_does(index: Path, there: Store, tmp_path: Path) -> None:
    """Same segments, same proofs, sound by every check, and no signing key."""
    copy = tmp_path / "copy"
    done = pull(there, copy, read_public_keys(index))
    assert (done.size, done.size_before) == (367, None)
    assert verify(copy).errors == fsck(copy).findings == ()
    for number in (0, 150, 366):
        assert open_reader(copy).prove(number) == open_reader(index).prove(number)
        assert open_reader(copy).record(number).sealed == open_reader(index).record(number).sealed
    key = next(iter(open_reader(index).keys()))
    assert open_reader(copy).find(key) == 0
    assert not (copy / "signing.key").exists()
    for file in (index / "segments").glob("*.arrows"):
        assert (copy / "segments" / file.name).read_bytes() == file.read_bytes()
    with pytest.raises(IndexStoreError), open_writer(copy, SMALL):
        pass


def test_only_what_is_new_is_fetched(
    index: Path, there: Store, tmp_path: Path, make_block: MakeBlock
) -> None:
    """Nothing the second time; one block and the edge of the tree after one more block."""
    pull(there, tmp_path / "copy")
    assert pull(there, tmp_path / "copy").objects == 0
    with open_writer(index, SMALL) as writer:
        writer.append(make_block(9, 20))
    push(index, there)
    done = pull(there, tmp_path / "copy")
    assert (done.size_before, done.size, done.objects) == (367, 387, 4)


def test_an_interrupted_pull_leaves_the_old_log_and_is_completed(
    index: Path, there: Store, tmp_path: Path, make_block: MakeBlock
) -> None:
    """At each operation that can fail."""
    copy = tmp_path / "copy"
    pull(there, copy)
    with open_writer(index, SMALL) as writer:
        writer.append(make_block(9, 200))
    push(index, there)
    for left in range(100):
        try:
            pull(cut_store(there.base, left), copy)
        except StoreError:
            assert verify(copy).errors == ()
            assert open_reader(copy).size == 367
        else:
            break
    assert left > 5
    assert (verify(copy).errors, open_reader(copy).size) == ((), 567)


def test_a_first_pull_that_is_interrupted_is_no_index_yet(there: Store, tmp_path: Path) -> None:
    """The next one goes on."""
    for left in range(100):
        try:
            pull(cut_store(there.base, left), tmp_path / "copy")
        except StoreError:
            assert not (tmp_path / "copy" / "index.json").exists()
        else:
            break
    assert left > 10
    assert verify(tmp_path / "copy").ok


def test_a_rollback_and_a_fork_are_refused(
    index: Path, there: Store, tmp_path: Path, make_block: MakeBlock
) -> None:
    """The copy stays as it was, to the byte."""
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "there", tmp_path / "before")
    shutil.copytree(index, tmp_path / "fork")
    with open_writer(index, SMALL) as writer:
        writer.append(make_block(9, 20))
    push(index, there)
    pull(there, copy)
    kept = {name: data for name, data in contents(copy).items() if name != "lock"}
    with open_writer(tmp_path / "fork", SMALL) as writer:
        writer.append(make_block(10, 300))
    push(tmp_path / "fork", open_store(str(tmp_path / "before2")))
    for folder in ("before", "before2"):
        with pytest.raises(ForkedError, match="does not continue"):
            pull(open_store(str(tmp_path / folder)), copy)
    assert {name: data for name, data in contents(copy).items() if name != "lock"} == kept


def test_other_keys_are_refused(index: Path, there: Store, tmp_path: Path, make_index: MakeIndex) -> None:
    """Those that were asked for, or those the copy has, sign the checkpoint, or nothing is kept."""
    make_index(tmp_path / "other", [3])
    other = read_public_keys(tmp_path / "other")
    with pytest.raises(DamagedError, match="not the expected one"):
        pull(there, tmp_path / "copy", other)
    assert not (tmp_path / "copy" / CHECKPOINT).exists()
    pull(there, tmp_path / "copy", read_public_keys(index))
    store = open_store(str(tmp_path / "elsewhere"))
    push(tmp_path / "other", store)
    with pytest.raises(DamagedError, match="not signed by this log"):
        pull(store, tmp_path / "copy")


def flip(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


@pytest.mark.parametrize("change", [flip, lambda data: data[:-1], lambda data: data + b"x", lambda _: b""])
def test_every_damaged_object_is_refused(
    there: Store, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    """One of each kind at a time, flipped, cut, longer or empty; no index is made of it."""
    first = {str(file.parent): file for file in sorted((tmp_path / "there").rglob("*")) if file.is_file()}
    assert len(first) > 6
    for number, file in enumerate([*first.values(), tmp_path / "there" / CHECKPOINT]):
        good = file.read_bytes()
        file.write_bytes(change(good))
        with pytest.raises(IndexStoreError):
            pull(there, tmp_path / str(number))
        assert not (tmp_path / str(number) / "index.json").exists(), file
        file.write_bytes(good)


def test_a_damaged_tile_is_named_and_not_what_is_below_it(there: Store, tmp_path: Path) -> None:
    """A full tile of hashes is held against the tile above it before leaf records are held against it."""
    tile = tmp_path / "there" / "tile" / "0" / "000"
    tile.write_bytes(flip(tile.read_bytes()))
    with pytest.raises(DamagedError, match=r"^tile/0/000 is damaged: its hashes"):
        pull(there, tmp_path / "copy")


def test_a_missing_block_is_named(there: Store, tmp_path: Path) -> None:
    """With where it should be."""
    block = next((tmp_path / "there" / "blocks").iterdir())
    block.unlink()
    with pytest.raises(StoreError, match=f"blocks/{block.name}"):
        pull(there, tmp_path / "copy")


def test_a_copy_goes_nowhere_but_into_a_copy(index: Path, there: Store, tmp_path: Path) -> None:
    """Not over a writer's index, nor among other files; and not from an empty place."""
    with pytest.raises(NotAnIndexError, match="writer's index"):
        pull(there, index)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(NotAnIndexError, match=r"a\.txt"):
        pull(there, tmp_path / "notes")
    with pytest.raises(NotAnIndexError, match="holds no log"):
        pull(open_store(str(tmp_path / "nothing")), tmp_path / "copy")


@pytest.mark.parametrize("eraser", [2, 10, 367, 368], ids=["before", "record", "other", "beyond"])
def test_a_record_may_be_missing_only_where_its_own_erasure_follows(
    index: Path, tmp_path: Path, eraser: int
) -> None:
    """A storage that leaves out a record of its own accord is refused, whatever entry it names for it."""
    key = dict(open_reader(index).listed())[3]
    with open_writer(index, SMALL) as writer:
        erase(writer, {3: key}, Cause.REQUEST)
        erasing._move(writer, {9: eraser})  # 367 is the erasure of record 3
    store = open_store(str(tmp_path / "there"))
    push(index, store)
    with pytest.raises(DamagedError, match="lacks record 9, and no entry erases it"):
        pull(store, tmp_path / "copy")
