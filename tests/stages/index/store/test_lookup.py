"""The key cache: whatever happens to it, the log's answer stands."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stages.batches import Sealed
from stages.errors import UnwritableError
from stages.index.options import IndexOptions
from stages.index.reader import open_reader
from stages.index.session import open_writer
from stages.index.store.lookup import LOOKUP, Known, Peek, open_lookup
from stages.index.store.tiles import Tiles

pytestmark = pytest.mark.usefixtures("fast_disk")
MakeIndex = Callable[..., list[Sealed]]
ROWS = [300, 20, 7]
SIZE = sum(ROWS)


def remove(path: Path) -> None:
    (path / LOOKUP).unlink()


def garble(path: Path) -> None:
    (path / LOOKUP).write_bytes(b"not a database" * 1000)


def truncate(path: Path) -> None:
    data = (path / LOOKUP).read_bytes()
    (path / LOOKUP).write_bytes(data[: len(data) // 2])


def change(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path / LOOKUP)) as db:
        db.execute(statement, values)
        db.commit()


def fall_behind(path: Path) -> None:
    """As after a crash between the checkpoint and the cache."""
    change(path, "DELETE FROM entries WHERE number >= 320")
    change(path, "UPDATE known SET size = 320, held = 320, root = ?", Tiles(path, 320).root())


def run_ahead(path: Path) -> None:
    """As after the log was restored from a backup."""
    change(path, "UPDATE known SET size = 1000000")


def be_of_another_log(path: Path) -> None:
    change(path, "UPDATE known SET root = ?", bytes(32))
    change(path, "UPDATE entries SET number = 0")


def forget_the_table(path: Path) -> None:
    change(path, "DROP TABLE entries")


def forget_an_entry(path: Path) -> None:
    change(path, "DELETE FROM entries WHERE number = 5")


DAMAGES = [
    remove,
    garble,
    truncate,
    fall_behind,
    run_ahead,
    be_of_another_log,
    forget_the_table,
    forget_an_entry,
]


@pytest.fixture(params=DAMAGES)
def damaged(
    request: pytest.FixtureRequest, tmp_path: Path, make_index: MakeIndex
) -> Iterator[tuple[Path, list[Sealed]]]:
    """An index whose cache was tampered with."""
    blocks = make_index(tmp_path / "index", ROWS)
    request.param(tmp_path / "index")
    return tmp_path / "index", blocks


def test_a_writer_skips_what_is_there_whatever_the_cache_says(damaged: tuple[Path, list[Sealed]]) -> None:
    """The cache is caught up or made again; no key enters the log twice."""
    path, blocks = damaged
    with open_writer(path, IndexOptions()) as writer:
        entries = [writer.append(block) for block in blocks]
    assert [i for one in entries for i in one.index_N.tolist()] == list(range(SIZE))
    assert open_reader(path).size == SIZE
    with closing(open_lookup(path, Tiles(path, SIZE))) as lookup:
        assert lookup.known() == (SIZE, open_reader(path).root)
        found = lookup.find(blocks[2].rows.keys)
        assert found == {key: Known(320 + row, erased=False) for row, key in enumerate(blocks[2].rows.keys)}


def test_a_reader_finds_what_is_there_whatever_the_cache_says(damaged: tuple[Path, list[Sealed]]) -> None:
    """Where the cache does not answer, the log does."""
    path, blocks = damaged
    reader = open_reader(path)
    assert reader.find(blocks[2].rows.keys[3]) == 323
    assert reader.find(blocks[0].rows.keys[299]) == 299


def test_a_key_that_is_not_there_is_not_found(tmp_path: Path, make_index: MakeIndex) -> None:
    """With a cache and without."""
    make_index(tmp_path, ROWS)
    assert open_reader(tmp_path).find(bytes(32)) is not None  # seed 0, row 0
    assert open_reader(tmp_path).find(b"n" * 32) is None
    (tmp_path / LOOKUP).unlink()
    assert open_reader(tmp_path).find(b"n" * 32) is None
    assert Peek(tmp_path).find(bytes(32)) == (None, 0)


def test_a_reader_does_not_find_what_came_after_its_checkpoint(tmp_path: Path, make_index: MakeIndex) -> None:
    """The cache runs ahead of pinned readers; they do not follow."""
    make_index(tmp_path, [5])
    reader = open_reader(tmp_path)
    (later,) = make_index(tmp_path, [5], seed=1)
    assert reader.find(later.rows.keys[0]) is None
    assert open_reader(tmp_path).find(later.rows.keys[0]) == 5


def test_a_reader_needs_no_right_to_write(tmp_path: Path, make_index: MakeIndex) -> None:
    """A published copy of an index, made read-only, answers."""
    (block,) = make_index(tmp_path / "index", [5])
    copy = shutil.copytree(
        tmp_path / "index", tmp_path / "copy", ignore=shutil.ignore_patterns("signing.key", "lock")
    )
    for path in (*copy.rglob("*"), copy):
        path.chmod(0o555)
    assert open_reader(copy).find(block.rows.keys[4]) == 4
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755)


def test_a_full_disk_costs_the_cache_nothing_that_it_knew(tmp_path: Path, make_index: MakeIndex) -> None:
    """The insertion fails as a whole, in one sentence; the next one covers it."""
    blocks = make_index(tmp_path / "index", ROWS)
    tiles = Tiles(tmp_path / "index", SIZE)
    lookup = open_lookup(tmp_path / "index", tiles)
    more = [(i.to_bytes(2, "big") * 15 + b"no", SIZE + i) for i in range(5000)]
    with closing(lookup):
        (pages,) = lookup._db.execute("PRAGMA page_count").fetchone()
        lookup._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(UnwritableError, match=r"lookup\.sqlite cannot be written: .* is full"):
            lookup.add(more, SIZE + len(more), bytes(32))
        assert lookup.known() == (SIZE, tiles.root())
        assert set(lookup.find(blocks[0].rows.keys)) == set(blocks[0].rows.keys)
        assert not lookup.find(key for key, _ in more)
        lookup._db.execute("PRAGMA max_page_count = 1000000")
        lookup.add(more, SIZE + len(more), bytes(32))
        assert len(lookup.find(key for key, _ in more)) == len(dict(more))
