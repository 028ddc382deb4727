"""The figures of an index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stages.batches import Sealed
from stages.encrypt.lwe.parameters import LWE32
from stages.encrypt.lwe.wire import Header
from stages.index.options import IndexOptions
from stages.index.reader import open_reader
from stages.index.session import open_writer
from stages.index.stats import stats

pytestmark = pytest.mark.usefixtures("fast_disk")
MakeBlock = Callable[..., Sealed]


def test_the_figures_are_those_of_the_index(tmp_path: Path, make_block: MakeBlock) -> None:
    """Size, root, blocks, segments, bytes, the keys that blocks are encrypted under, and when."""
    before = datetime.now(UTC)
    with open_writer(tmp_path, IndexOptions(segment_bytes=1 << 12)) as writer:
        for seed, letter in enumerate(b"aab"):
            header = Header(LWE32, bytes([letter]) * 32, 5, 100, 0, 50).encode()
            writer.append(replace(make_block(seed, 50), header=header))
        writer.publish()
        figures = stats(tmp_path)
        everything = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    reader = open_reader(tmp_path)
    assert (figures.size, figures.root) == (150, reader.root)
    assert reader.checkpoint.decode().startswith(figures.origin + "\n")
    lengths = [path.stat().st_size for path in (tmp_path / "segments").glob("*.arrows")]
    assert (figures.blocks, figures.segments, figures.segment_bytes) == (3, len(lengths), sum(lengths))
    assert figures.total_bytes == everything
    assert figures.bytes_per_record == everything / 150
    assert figures.key_ids == {(b"a" * 32).hex(): 100, (b"b" * 32).hex(): 50}
    assert abs((figures.checkpoint_time - before).total_seconds()) < 60


def test_an_empty_index_has_figures_too(tmp_path: Path) -> None:
    """No division by no records."""
    with open_writer(tmp_path, IndexOptions()):
        figures = stats(tmp_path)
    assert (figures.size, figures.blocks, figures.segments, figures.key_ids) == (0, 0, 0, {})
    assert figures.bytes_per_record == 0
