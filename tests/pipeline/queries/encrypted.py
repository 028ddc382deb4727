"""Small indexes of really encrypted features, without images: keys, blocks, and what the plaintexts are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.batches import Rows, Sealed
from stages.encrypt.lwe.quantise import quantise_rows, scale_for
from stages.encrypt.lwe.scheme import Encryptor
from stages.encrypt.public.folder import load_public
from stages.index.options import IndexOptions
from stages.index.session import open_writer

D = 24  # features


def unit_rows(count: int, seed: int, dimensions: int = D) -> np.ndarray:
    x_ND = np.random.default_rng(seed).normal(size=(count, dimensions))
    return (x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)).astype(np.float32)


def record_key(seed: int, row: int) -> bytes:
    return seed.to_bytes(16, "big") + row.to_bytes(16, "big")


def sealed_block(encryptor: Encryptor, x_ND: np.ndarray, keys: Sequence[bytes]) -> Sealed:
    scale = scale_for(encryptor.public.parameters, x_ND.shape[1])
    X_ND, fits_N = quantise_rows(x_ND, scale)
    assert fits_N.all()
    block = encryptor.encrypt(X_ND, slot=0, scale=scale)
    blank = (b"",) * len(keys)
    return Sealed(
        Rows(tuple(keys), blank, (b"m",) * len(keys), blank),
        block.header.encode(),
        block.head_Dn,
        block.columns_ND,
    )


def append(directory: Path, keys: Path, counts: Sequence[int], seed: int = 0) -> dict[bytes, np.ndarray]:
    """Append blocks of so many records; by key, the encrypted integers. Seeds count up from ``seed``."""
    encryptor = Encryptor(load_public(keys).lwe)
    plain: dict[bytes, np.ndarray] = {}
    with open_writer(directory, IndexOptions()) as writer:
        for number, count in enumerate(counts, seed):
            x_ND = unit_rows(count, number)
            names = [record_key(number, row) for row in range(count)]
            writer.append(sealed_block(encryptor, x_ND, names))
            X_ND, _ = quantise_rows(x_ND, scale_for(encryptor.public.parameters, D))
            plain.update(zip(names, X_ND, strict=True))
    return plain
