"""Synthetic blocks and small indexes; nothing here is encrypted, the index does not look inside."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stages.batches import Rows, Sealed
from stages.index import identity
from stages.index.note import Signer, public_key
from stages.index.verifier import EMPTY_ROOT
from stages.index.writer import IndexOptions, open_writer

D, DIMENSION_n = 5, 12  # features, LWE dimension

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
    """An index of blocks with these numbers of records; seeds count from ``seed``."""

    def make(path: Path, rows: Sequence[int], *, seed: int = 0, segment_bytes: int = 1 << 28) -> list[Sealed]:
        blocks = [make_block(number, count) for number, count in enumerate(rows, seed)]
        with open_writer(path, IndexOptions(segment_bytes=segment_bytes)) as writer:
            for block in blocks:
                writer.append(block)
        return blocks

    return make


@pytest.fixture
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncs do nothing, for tests that write much and are not about power cuts."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(os, "fdatasync", lambda _: None)
    monkeypatch.setattr("stages.index.lookup._SYNCHRONOUS", "OFF")


@pytest.fixture
def format_1(tmp_path: Path, make_index: MakeIndex) -> Path:
    """An index of five records as it was made before there was a second signature and a key tree."""
    created = "2026-01-01T00:00:00+00:00"
    key = Ed25519PrivateKey.generate()
    named = identity.Identity.of(1, key.public_key().public_bytes_raw(), created)
    path = tmp_path / "format-1"
    path.mkdir()
    (path / "staging").mkdir()
    (path / identity.SIGNING_KEY).write_bytes(identity.encode_keys([key]))
    (path / identity.PUBLIC_KEY).write_bytes(identity.encode_public([public_key(named.origin, key)]))
    (path / identity.CHECKPOINT).write_bytes(Signer(named.origin, (key,), None).checkpoint(0, EMPTY_ROOT))
    (path / identity.IDENTITY).write_text(
        f'{{\n  "format": 1,\n  "origin": "{named.origin}",\n  "created": "{created}"\n}}\n'
    )
    make_index(path, [5], seed=40)
    return path
