"""Which states a log has been in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.queries.inclusion import check_prefix, root_at
from stages.batches import Rows, Sealed
from stages.index.options import IndexOptions
from stages.index.reader import open_reader
from stages.index.session import open_writer
from stages.index.verifier import Checkpoint
from tests.pipeline.queries.encrypted import record_key


def grown(directory: Path, *counts: int) -> Path:
    """A log of blocks of so many records, whose ciphertexts are nothing in particular."""
    with open_writer(directory, IndexOptions()) as writer:
        for number, count in enumerate(counts):
            keys = tuple(record_key(number, row) for row in range(count))
            columns_ND = np.full((count, 2), number, np.uint32)
            writer.append(Sealed(Rows(keys, keys, keys, keys), b"h", np.ones((2, 3), np.uint32), columns_ND))
            writer.publish()
    return directory


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two full tiles and a part of a third."""
    return grown(tmp_path_factory.mktemp("log") / "log", 100, 412, 30)


def test_earlier_roots_are_known_and_others_are_not(log: Path) -> None:
    """Every size that was a checkpoint, and no other root for it; a state that never was has none."""
    reader = open_reader(log)
    for size in (100, 512, 542):
        check_prefix(log, reader, Checkpoint("x", size, root_at(log, reader, size)), "it")
        assert len(root_at(log, reader, size)) == 32
        with pytest.raises(ValueError, match="roots differ"):
            check_prefix(log, reader, Checkpoint("x", size, bytes(32)), "it")
    assert root_at(log, reader, 520) == b""  # never a checkpoint, and its tile has no such state
