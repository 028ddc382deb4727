"""Readers: pinned, exact, and never handing out what does not verify."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.batches import Sealed
from stages.index import publish
from stages.index.errors import DamagedError, NotAnIndexError
from stages.index.options import IndexOptions
from stages.index.reader import open_reader
from stages.index.session import open_writer
from stages.index.verifier import parse_keys, verify_proof

pytestmark = pytest.mark.usefixtures("fast_disk")
MakeBlock = Callable[..., Sealed]
MakeIndex = Callable[..., list[Sealed]]
ROWS = [200, 300, 40, 7]


def test_records_come_back_as_they_were_appended(tmp_path: Path, make_index: MakeIndex) -> None:
    """Header, head, column, metadata and key, at every index."""
    blocks = make_index(tmp_path, ROWS, segment_bytes=1 << 14)
    reader = open_reader(tmp_path)
    places = [(block, row) for block in blocks for row in range(len(block))]
    assert reader.size == len(places)
    for index in range(0, reader.size, 13):
        block, row = places[index]
        record = reader.record(index)
        assert (record.index, record.position) == (index, row)
        assert (record.key, record.header, record.sealed) == (
            block.rows.keys[row],
            block.header,
            block.rows.sealed[row],
        )
        assert np.array_equal(record.column_D, block.columns_ND[row])
        assert np.array_equal(record.head_Dn, block.head_Dn)
        assert reader.find(record.key) == index


def test_blocks_come_in_log_order(tmp_path: Path, make_index: MakeIndex) -> None:
    """With their first index, ready for a scan."""
    blocks = make_index(tmp_path, ROWS, segment_bytes=1 << 14)
    views = list(open_reader(tmp_path).blocks())
    assert [view.first_index for view in views] == [0, 200, 500, 540]
    for view, block in zip(views, blocks, strict=True):
        assert (view.keys, view.header) == (block.rows.keys, block.header)
        assert np.array_equal(view.head_Dn, block.head_Dn)
        assert np.array_equal(view.columns_ND, block.columns_ND)
    assert [key for view in views for key in view.keys] == list(open_reader(tmp_path).keys())


def test_every_record_is_proven_to_a_stranger(tmp_path: Path, make_index: MakeIndex) -> None:
    """With the proof file and the public key file alone."""
    make_index(tmp_path, ROWS)
    reader = open_reader(tmp_path)
    public = parse_keys((tmp_path / "checkpoint.pub").read_text())
    assert reader.log == public
    for index, key in enumerate(reader.keys()):
        verified = verify_proof(reader.prove(index).encode(), public)
        assert (verified.claim, verified.index, verified.key) == ("inclusion", index, key)
        assert (verified.checkpoint.size, verified.checkpoint.root) == (reader.size, reader.root)


def test_a_reader_stays_at_its_checkpoint(tmp_path: Path, make_index: MakeIndex) -> None:
    """While the log grows past full tiles, the old reader answers as before, and growth is proven."""
    make_index(tmp_path, [250])
    old = open_reader(tmp_path)
    before = [old.prove(index).encode() for index in range(0, 250, 17)]
    make_index(tmp_path, [3, 4, 600], seed=1)
    assert [old.prove(index).encode() for index in range(0, 250, 17)] == before
    assert old.size == sum(len(view) for view in old.blocks()) == 250
    with pytest.raises(IndexError, match="no record 250"):
        old.prove(250)
    new = open_reader(tmp_path)
    proven = verify_proof(new.prove_growth(old.checkpoint).encode(), old.log)
    assert (proven.claim, proven.old and proven.old.size, proven.checkpoint.size) == ("growth", 250, 857)


def test_what_is_appended_becomes_visible_by_itself(
    tmp_path: Path, make_block: MakeBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to append more, or to close."""
    monkeypatch.setattr(publish, "PUBLISH_S", 0.01)
    with open_writer(tmp_path, IndexOptions()) as writer:
        writer.append(make_block(1, 9))
        deadline = time.monotonic() + 30
        while open_reader(tmp_path).size < 9 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert open_reader(tmp_path).size == 9


def test_readers_read_while_a_writer_writes(tmp_path: Path, make_block: MakeBlock) -> None:
    """Every checkpoint that a reader meets is whole, and each grew from the one before."""
    blocks = [make_block(seed, 1 + seed * 5 % 70) for seed in range(60)]
    done = threading.Event()

    def write() -> None:
        try:
            with open_writer(tmp_path, IndexOptions(segment_bytes=1 << 14)) as writer:
                for block in blocks:
                    writer.append(block)
                    writer.publish()
        finally:
            done.set()

    with open_writer(tmp_path, IndexOptions()):
        last = open_reader(tmp_path)
    thread = threading.Thread(target=write)
    thread.start()
    met = 0
    while not done.is_set():
        reader = open_reader(tmp_path)
        verify_proof(reader.prove_growth(last.checkpoint).encode(), last.log)
        if reader.size:
            assert reader.record(reader.size - 1).index == reader.size - 1
            assert reader.find(reader.record(reader.size // 2).key) == reader.size // 2
        met += reader.size > last.size
        last = reader
    thread.join()
    assert met > 3
    assert open_reader(tmp_path).size == sum(map(len, blocks))


@pytest.mark.parametrize("part", ["columns_ND", "head_Dn"])
def test_a_damaged_record_is_not_handed_out(tmp_path: Path, make_index: MakeIndex, part: str) -> None:
    """Neither by itself nor in its block."""
    blocks = make_index(tmp_path, [20])
    path = tmp_path / "segments/000000.arrows"
    data = path.read_bytes()
    place = data.index(getattr(blocks[0], part)[3].tobytes())
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    reader = open_reader(tmp_path)
    with pytest.raises(DamagedError, match="records 0 to 19"):
        reader.record(3)
    with pytest.raises(DamagedError, match="records 0 to 19"):
        list(reader.blocks())


def test_a_replaced_block_is_not_handed_out(tmp_path: Path, make_index: MakeIndex) -> None:
    """Even where segment and manifest agree with each other, the tree does not agree with them."""
    (block,) = make_index(tmp_path / "good", [20])
    forged = replace(block, columns_ND=block.columns_ND ^ np.uint32(1))
    with open_writer(tmp_path / "evil", IndexOptions()) as writer:
        writer.append(forged)
    for name in ("segments/000000.arrows", "segments/manifest"):
        (tmp_path / "good" / name).write_bytes((tmp_path / "evil" / name).read_bytes())
    with pytest.raises(DamagedError, match="does not hold record 3"):
        open_reader(tmp_path / "good").record(3)


def test_a_damaged_tree_proves_nothing(tmp_path: Path, make_index: MakeIndex) -> None:
    """A proof is checked before it is handed out."""
    make_index(tmp_path, [300])
    path = tmp_path / "tile/0/000"
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(DamagedError, match="on the way from records 0 and following"):
        open_reader(tmp_path).prove(1)


def test_a_foreign_key_is_refused(tmp_path: Path, make_index: MakeIndex) -> None:
    """Whoever knows the log's key is not satisfied with another's signature."""
    make_index(tmp_path / "a", [3])
    make_index(tmp_path / "b", [3])
    log = open_reader(tmp_path / "a").log
    assert open_reader(tmp_path / "a", log).size == 3
    with pytest.raises(DamagedError, match=r"checkpoint\.pub is not"):
        open_reader(tmp_path / "b", log)


def test_a_path_that_is_no_index_is_one_sentence(tmp_path: Path) -> None:
    """An empty folder and one that is not there."""
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotAnIndexError, match="is not an index"):
            open_reader(path)
