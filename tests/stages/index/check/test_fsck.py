"""Every damaged file is named, and what is derived is made again."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.batches import Sealed
from stages.errors import UnwritableError
from stages.index.check.fsck import fsck, repair
from stages.index.check.verify import verify
from stages.index.erase import erase
from stages.index.log.erasure import Cause
from stages.index.options import IndexOptions
from stages.index.reader import open_reader
from stages.index.session import open_writer
from stages.index.store.manifest import Extent, Manifest
from tests.conftest import SmallDisk

pytestmark = pytest.mark.usefixtures("fast_disk")
MakeIndex = Callable[..., list[Sealed]]
MakeBlock = Callable[..., Sealed]
OPTIONS = IndexOptions(segment_bytes=1 << 14)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, make_index: MakeIndex) -> Path:
    """Records, erasures, a block that was moved."""
    path = tmp_path_factory.mktemp("fsck") / "index"
    make_index(path, [200, 300, 40, 7], segment_bytes=1 << 14)
    listed = dict(open_reader(path).listed())
    with open_writer(path, OPTIONS) as writer:
        erase(writer, {index: listed[index] for index in (3, 4, 510)}, Cause.REQUEST)
    return path


@pytest.fixture
def index(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "index")


def files_of(path: Path) -> list[Path]:
    """Every file that says something; SQLite's shared memory is made anew by whoever is first to open."""
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.stat().st_size)
    return [file for file in files if not file.name.endswith("-shm")]


def named_after_a_flip(path: Path, file: Path, place: int, bit: int) -> set[str]:
    """The files that are found damaged when a bit of this one is."""
    good = file.read_bytes()
    try:
        file.write_bytes(good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :])
        return {finding.file for finding in fsck(path).findings}
    finally:
        file.write_bytes(good)


def test_a_sound_index_has_no_findings(whole: Path) -> None:
    """Erasures included."""
    found = fsck(whole)
    assert (found.findings, found.size, found.root) == ((), 550, open_reader(whole).root)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_bit_flipped_in_any_file_is_found_and_the_file_named(whole: Path, data: st.DataObject) -> None:
    """Caches and lock, slack, and zeros where something was erased: no byte is free."""
    file = data.draw(st.sampled_from(files_of(whole)))
    place = data.draw(st.integers(0, file.stat().st_size - 1))
    found = named_after_a_flip(whole, file, place, data.draw(st.integers(0, 7)))
    assert found == {str(file.relative_to(whole))}


@pytest.mark.parametrize("name", ["lock", "lookup.sqlite", "lookup.sum", "keys.tree", "checkpoint"])
def test_a_bit_flipped_anywhere_in_a_small_file_is_found(whole: Path, name: str) -> None:
    """Evenly over the file, a different bit each time."""
    file = whole / name
    size = file.stat().st_size
    for place in range(0, size, max(1, size // 8)):
        assert named_after_a_flip(whole, file, place, place % 8) == {name}


def test_where_something_was_erased_there_are_zeros_only(whole: Path) -> None:
    """Between blocks and after the last one of a segment that has a successor."""
    rows = list(Manifest(whole, 550))
    dead = [file for file in sorted((whole / "segments").glob("*.arrows")) if not covered(rows, file)[0]]
    assert dead
    for file in dead:
        ends = covered(rows, file)
        for place in (0, ends.index(1) - 1 if 1 in ends else len(ends) - 1):
            assert named_after_a_flip(whole, file, place, 3) == {f"segments/{file.name}"}


def covered(rows: list[Extent], file: Path) -> bytes:
    """One for each byte of a segment that is some block's, else zero."""
    marks = bytearray(file.stat().st_size)
    for row in rows:
        if row.file == f"segments/{file.name}":
            marks[row.offset : row.end] = b"\1" * row.length
    return bytes(marks)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_bit_flipped_in_any_byte_of_any_file_is_found(tmp_path: Path, make_index: MakeIndex) -> None:
    """One byte in 31 of the smallest index with an erasure; in the profile ``fuzz`` all of them."""
    stride = 1 if settings.get_current_profile_name() == "fuzz" else 31
    path = tmp_path / "index"
    make_index(path, [3, 2])
    key = dict(open_reader(path).listed())[1]
    with open_writer(path, OPTIONS) as writer:
        erase(writer, {1: key}, Cause.REQUEST)
    for file in files_of(path):
        start = random.Random(file.name).randrange(stride)  # noqa: S311 (a sample, the same in every run)
        for place in range(start, file.stat().st_size, stride):
            assert named_after_a_flip(path, file, place, place % 8) == {str(file.relative_to(path))}, place


def test_a_block_that_was_written_in_vain_leaves_nothing(tmp_path: Path, make_block: MakeBlock) -> None:
    """A retried batch of which a part is new is written twice to one place, the second time shorter."""
    first, again = make_block(1, 40), make_block(2, 60)
    mixed = make_block(3, 60, [*again.rows.keys[:50], *first.rows.keys[:10]])
    for batch in (mixed, first):
        with open_writer(tmp_path, OPTIONS) as writer:
            writer.append(first)
            writer.append(batch)
        assert fsck(tmp_path).findings == ()


@pytest.mark.parametrize("name", ["tile/0/000", "tile/entries/001", "tile/0/002.p/38", "tile/1/000.p/2"])
@pytest.mark.parametrize("how", ["changed", "gone", "cut"])
def test_tiles_are_made_again(index: Path, name: str, how: str) -> None:
    """From the segments, once these lead to the signed root."""
    good = (index / name).read_bytes()
    if how == "gone":
        (index / name).unlink()
    else:
        (index / name).write_bytes(bytes(len(good)) if how == "changed" else good[:40])
    found = fsck(index)
    assert found.findings
    assert set(found.repairable) == set(found.findings)
    assert repair(index, OPTIONS).findings == ()
    assert (index / name).read_bytes() == good


def test_leftovers_and_a_wrong_cache_are_cleared_away(index: Path) -> None:
    """Staging, segments and tiles that nothing leads to, rows of no block, a cache that lies."""
    (index / "staging" / "3").write_bytes(b"half")
    (index / "segments" / "000099.arrows").write_bytes(b"begun")
    (index / "tile" / "0" / "002.p" / "200").write_bytes(b"later")
    with (index / "segments" / "manifest").open("ab") as file:
        file.write(b"torn")
    with closing(sqlite3.connect(index / "lookup.sqlite")) as db:
        db.execute("UPDATE entries SET erased = 1 WHERE number = 9")
        db.commit()
    (index / "lookup.sum").unlink()  # what it says is not all that is compared
    (index / "lock").write_bytes(b"epoch 9, pid 1 on nobody\n")
    found = fsck(index)
    names = {
        "staging",
        "segments/000099.arrows",
        "tile/0/002.p/200",
        "segments/manifest",
        "lookup.sqlite",
        "lock",
    }
    assert {finding.file for finding in found.findings} == names
    assert set(found.repairable) == set(found.findings)
    assert repair(index, OPTIONS).findings == ()


def test_the_truth_is_never_repaired(index: Path) -> None:
    """A damaged segment is said to be damaged, before and after; tiles are not made from it."""
    file = index / "segments" / "000001.arrows"
    good = file.read_bytes()
    file.write_bytes(good[:5000] + b"x" + good[5001:])
    tile = index / "tile" / "0" / "001"
    tile.write_bytes(bytes(8192))
    found = repair(index, OPTIONS)
    assert {"segments/000001.arrows", "tile/0/001"} <= {finding.file for finding in found.findings}
    assert found.repairable == ()
    assert file.read_bytes() == good[:5000] + b"x" + good[5001:]
    assert tile.read_bytes() == bytes(8192)


def test_a_signing_key_that_others_can_read_is_said(index: Path) -> None:
    """Its mode is the operator's to set."""
    (index / "signing.key").chmod(0o644)
    (finding,) = fsck(index).findings
    assert (finding.file, "0644" in finding.reason) == ("signing.key", True)


def fill(path: Path, make_block: MakeBlock, acknowledged: list[bytes]) -> None:
    with open_writer(path, OPTIONS) as writer:
        for seed in range(2000):
            acknowledged += writer.append(make_block(seed, 90)).keys


@pytest.mark.slow
def test_a_disk_that_is_really_full_loses_nothing(
    small_disk: SmallDisk, tmp_path: Path, make_block: MakeBlock
) -> None:
    """A file system of 4 MB fills up; what was acknowledged is there once there is room again."""
    acknowledged: list[bytes] = []
    with pytest.raises((OSError, UnwritableError), match=f"{small_disk.path}/index"):
        fill(small_disk.path / "index", make_block, acknowledged)
    moved = shutil.copytree(small_disk.path / "index", tmp_path / "index")
    assert len(acknowledged) > 1000
    assert verify(moved).errors == ()
    with open_writer(moved, OPTIONS) as writer:
        assert list(open_reader(moved).keys())[: len(acknowledged)] == acknowledged
        writer.append(make_block(5000, 90))
    assert verify(moved).errors == ()


@pytest.mark.parametrize("name", ["tile/README", "tile/0/000.bak", "tile/x/000", "tile/0/001.p/x"])
def test_a_foreign_file_among_the_tiles_is_named(index: Path, name: str) -> None:
    """Whatever it is called."""
    (index / name).parent.mkdir(parents=True, exist_ok=True)
    (index / name).write_bytes(b"")
    assert [found.file for found in fsck(index).findings] == [name]
