"""Randomness of the scheme: AES-256-CTR keystreams and the samplers that read them.

A keystream is NIST SP 800-38A counter mode over zeros. Its initial counter block is the stream's
label as 8 big-endian bytes followed by 8 zero bytes, so the streams of one key never overlap below
2**64 blocks. Samplers read in order from the start of their stream: a uniform word its 4 or 8 bytes,
CBD(1) one byte, TU(b) one byte where b + 2 bits fit it, else 4 bytes. All are little-endian, use the low
bits and nothing but shifts and masks: no branch and no index depends on a secret.

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
_BYTE_BITS: Final = 6  # b of the widest TU(b) that reads one byte a sample
_WIDE_BITS: Final = 28  # b of the widest there is: 2**b and b + 2 bits stay inside int32
_CPU: Final = torch.device("cpu")
_ZEROS: Final = bytes(1 << 18)  # what is encrypted, piece by piece: it stays in the cache


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
    return counter_mode(key, _counter(label), count)


def counter_mode(key: bytes, counter: bytes, count: int) -> NDArray[np.uint8]:
    """AES-256-CTR (NIST SP 800-38A) over zeros from this initial counter block."""
    stream = np.empty(count, np.uint8)
    _fill(stream, key, counter)
    return stream


def uniform(key: bytes, label: int, shape: tuple[int, ...], bits: int = 32) -> torch.Tensor:
    """Words uniform mod 2**bits, little-endian, as two's complement int32 or int64, row-major."""
    width = bits // 8
    words = keystream(key, label, width * _size(shape)).view(f"<u{width}")
    return torch.from_numpy(words.view(f"<i{width}")).reshape(shape)


def cbd(octets: torch.Tensor) -> torch.Tensor:
    """CBD(1): bit 0 less bit 1 of each byte, in {-1, 0, 1} with variance 1/2."""
    return (octets & 1).to(torch.int8) - ((octets >> 1) & 1).to(torch.int8)


def tu(raw: torch.Tensor, bits: int) -> torch.Tensor:
    """TU(b): with u the low b + 2 bits of each entry, (u >> 1) + (u & 1) - 2**b.

    From bytes (uint8) to int8 for b <= 6, from words (int32) to int32 for b <= 28.
    """
    if raw.dtype == torch.uint8 and not 0 < bits <= _BYTE_BITS:
        raise ValueError(f"TU({bits}) does not fit one byte a sample")
    if not 0 < bits <= _WIDE_BITS:
        raise ValueError(f"TU({bits}) does not fit four bytes a sample")
    u = raw & ((1 << bits + 2) - 1)
    return ((u >> 1) + (u & 1)).to(torch.int8 if raw.dtype == torch.uint8 else torch.int32) - (1 << bits)


def noise(
    key: bytes, label: int, shape: tuple[int, ...], bits: int, device: torch.device = _CPU
) -> torch.Tensor:
    """TU(b) samples of the key's stream with this label, int8 or int32, on the device."""
    if bits <= _BYTE_BITS:
        return tu(octets(key, label, shape, device), bits)
    wide = octets(key, label, (*shape[:-1], 4 * shape[-1]), device)
    return tu(wide.view(torch.int32), bits)


def octets(key: bytes, label: int, shape: tuple[int, ...], device: torch.device = _CPU) -> torch.Tensor:
    """A keystream as a uint8 tensor on the device.

    For CUDA it is written into pinned memory, which torch hands out again when the copy is through.
    """
    if device.type != "cuda":
        return torch.from_numpy(keystream(key, label, _size(shape))).reshape(shape)
    stream = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
    _fill(stream.numpy().reshape(-1), key, _counter(label))
    return stream.to(device, non_blocking=True)


def _fill(stream: NDArray[np.uint8], key: bytes, counter: bytes) -> None:
    """Write counter mode over zeros into the whole of a flat array."""
    encryptor = Cipher(algorithms.AES256(key), modes.CTR(counter)).encryptor()
    out, zeros = stream.data, memoryview(_ZEROS)
    for at in range(0, len(stream), len(zeros)):
        part = out[at : at + len(zeros)]
        encryptor.update_into(zeros[: len(part)], part)


def _counter(label: int) -> bytes:
    """The initial counter block of a stream."""
    return label.to_bytes(8, "big") + bytes(8)


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))
