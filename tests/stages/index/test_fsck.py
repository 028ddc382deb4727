"""Every damaged file is named, and what is derived is made again."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.batches import Sealed
from stages.index.erase import erase
from stages.index.erasure import Cause
from stages.index.errors import UnwritableError
from stages.index.fsck import fsck, repair
from stages.index.reader import open_reader
from stages.index.session import open_writer
from stages.index.verify import verify
from stages.index.writer import IndexOptions

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


def committed(path: Path) -> list[Path]:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return [file for file in files if file.name != "lock" and not file.name.startswith("lookup")]


def test_a_sound_index_has_no_findings(whole: Path) -> None:
    """Erasures included."""
    found = fsck(whole)
    assert (found.findings, found.size, found.root) == ((), 550, open_reader(whole).root)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_any_bit_flipped_in_any_live_byte_is_found_and_the_file_named(
    whole: Path, data: st.DataObject
) -> None:
    """In every class of files but the cache; zeros where something was are dead bytes."""
    file = data.draw(st.sampled_from(committed(whole)))
    good = file.read_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    file.write_bytes(
        good[:place] + bytes([good[place] ^ 1 << data.draw(st.integers(0, 7))]) + good[place + 1 :]
    )
    try:
        found = fsck(whole)
    finally:
        file.write_bytes(good)
    name = str(file.relative_to(whole))
    if not found.findings:  # only bytes that nothing leads to
        assert file.suffix == ".arrows"
        assert not any(good[max(0, place - 500) : place + 500]) or good[place] == 0
    else:
        assert {finding.file for finding in found.findings} == {name}


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
    found = fsck(index)
    names = {"staging", "segments/000099.arrows", "tile/0/002.p/200", "segments/manifest", "lookup.sqlite"}
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


def test_a_disk_that_is_really_full_loses_nothing(tmp_path: Path, make_block: MakeBlock) -> None:
    """A file system of 4 MB fills up; what was acknowledged is there once there is room again."""
    mount = tmp_path / "small"
    mount.mkdir()
    if os.geteuid() or os.system(f"mount -t tmpfs -o size=4m none {mount} 2>/dev/null"):  # noqa: S605
        pytest.skip("a small file system can only be mounted by root")
    try:
        acknowledged: list[bytes] = []
        with pytest.raises((OSError, UnwritableError)):
            fill(mount / "index", make_block, acknowledged)
        moved = shutil.copytree(mount / "index", tmp_path / "index")
    finally:
        os.system(f"umount {mount}")  # noqa: S605
    assert len(acknowledged) > 1000
    assert verify(moved).errors == ()
    with open_writer(moved, OPTIONS) as writer:
        assert list(open_reader(moved).keys())[: len(acknowledged)] == acknowledged
        writer.append(make_block(5000, 90))
    assert verify(moved).errors == ()
