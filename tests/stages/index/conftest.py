"""Synthetic blocks and small indexes; nothing here is encrypted, the index does not look inside."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from stages.batches import Rows, Sealed
from stages.index.options import IndexOptions
from stages.index.session import open_writer

D, DIMENSION_n = 5, 12  # features, LWE dimension

SMALL = IndexOptions(segment_bytes=1 << 13)
MakeBlock = Callable[..., Sealed]
MakeIndex = Callable[..., list[Sealed]]


@pytest.fixture(scope="session")
def make_block() -> MakeBlock:
    """A block of so many records, random from its seed; its keys are seed and row."""

    def make(seed: int, rows: int, keys: Sequence[bytes] | None = None) -> Sealed:
        random = np.random.default_rng([seed, rows])
        keys = keys or [seed.to_bytes(16, "big") + row.to_bytes(16, "big") for row in range(rows)]
        sealed = tuple(random.bytes(int(random.integers(1, 40))) for _ in range(rows))
        return Sealed(
            Rows(tuple(keys), (b"",) * rows, sealed, (b"",) * rows),
            random.bytes(24),
            random.integers(0, 2**32, (D, DIMENSION_n), np.uint32),
            random.integers(0, 2**32, (rows, D), np.uint32),
        )

    return make


@pytest.fixture(scope="session")
def make_index(make_block: MakeBlock) -> MakeIndex:
    """An index of blocks with these numbers of records, each published; seeds count from ``seed``."""

    def make(path: Path, rows: Sequence[int], *, seed: int = 0, segment_bytes: int = 1 << 28) -> list[Sealed]:
        blocks = [make_block(number, count) for number, count in enumerate(rows, seed)]
        with open_writer(path, IndexOptions(segment_bytes=segment_bytes)) as writer:
            for block in blocks:
                writer.append(block)
                writer.publish()
        return blocks

    return make


@pytest.fixture
def index(make_index: MakeIndex, tmp_path: Path) -> Path:
    """Four blocks in several segments; who needs another index has a fixture of this name."""
    make_index(tmp_path / "index", [100, 200, 60, 7], segment_bytes=SMALL.segment_bytes)
    return tmp_path / "index"


@pytest.fixture
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncs do nothing, for tests that write much and are not about power cuts."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(os, "fdatasync", lambda _: None)
    monkeypatch.setattr("stages.index.store.lookup._SYNCHRONOUS", "OFF")
