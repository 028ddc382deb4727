"""Randomness of the scheme: AES-256-CTR keystreams and the samplers that read them.

A keystream is NIST SP 800-38A counter mode over zeros. Its initial counter block is the stream's
label as 8 big-endian bytes followed by 8 zero bytes, so the streams of one key never overlap below
2**64 blocks. Every sampler reads one byte a sample (four for a uniform word), in order, from the
start of its stream, and uses shifts and masks only: no branch and no index depends on a secret.

Torch's generators are never used here: they are not cryptographic.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

KEY_BYTES: Final = 32
_CPU: Final = torch.device("cpu")


class Stream(IntEnum):
    """Labels: one keystream per purpose and key."""

    MATRIX = 1  # A, from the public seed
    SECRET = 2  # S, from the secret seed
    KEY_NOISE = 3  # E of B = A S + E
    MASK = 4  # R of one block
    HEAD_NOISE = 5  # E1 of one block
    COLUMN_NOISE = 6  # E2 of one block


def keystream(key: bytes, label: int, count: int) -> NDArray[np.uint8]:
    """The first ``count`` bytes of the key's stream with this label."""
    return counter_mode(key, label.to_bytes(8, "big") + bytes(8), count)


def counter_mode(key: bytes, counter: bytes, count: int) -> NDArray[np.uint8]:
    """AES-256-CTR (NIST SP 800-38A) over zeros from this initial counter block."""
    encryptor = Cipher(algorithms.AES256(key), modes.CTR(counter)).encryptor()
    stream = np.empty(count, np.uint8)
    encryptor.update_into(memoryview(bytes(count)), stream.data)
    return stream


def uniform(key: bytes, label: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Words uniform mod 2**32, little-endian, as two's complement int32, row-major."""
    words = keystream(key, label, 4 * _size(shape)).view("<u4")
    return torch.from_numpy(words.view(np.int32)).reshape(shape)


def cbd(octets: torch.Tensor) -> torch.Tensor:
    """CBD(1): bit 0 less bit 1 of each byte, in {-1, 0, 1} with variance 1/2."""
    return (octets & 1).to(torch.int8) - ((octets >> 1) & 1).to(torch.int8)


def tu(octets: torch.Tensor, bits: int) -> torch.Tensor:
    """TU(b), b <= 6: with u the low b + 2 bits of each byte, (u >> 1) + (u & 1) - 2**b."""
    if not 0 < bits <= 6:  # noqa: PLR2004 - b + 2 bits must fit the byte
        raise ValueError(f"TU({bits}) does not fit one byte a sample")
    u = octets & ((1 << bits + 2) - 1)
    return ((u >> 1) + (u & 1)).to(torch.int8) - (1 << bits)


def octets(key: bytes, label: int, shape: tuple[int, ...], device: torch.device = _CPU) -> torch.Tensor:
    """A keystream as a uint8 tensor on the device, through pinned memory where that helps."""
    stream = torch.from_numpy(keystream(key, label, _size(shape))).reshape(shape)
    if device.type == "cuda":
        return stream.pin_memory().to(device, non_blocking=True)
    return stream


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))
