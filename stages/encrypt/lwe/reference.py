"""The specification: LWE encryption in Python integers, slow and obvious.

Matrices are NumPy arrays of Python ints, so nothing overflows and mod q is written where it is meant.
``scheme``, ``owner`` and ``search`` must equal this bit for bit. Not for use on secrets: it takes its
time, and that time depends on them.
"""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from stages.encrypt.lwe.parameters import Parameters

BigMatrix = NDArray[np.object_]

A_LABEL, S_LABEL, E_LABEL, R_LABEL, E1_LABEL, E2_LABEL = 1, 2, 3, 4, 5, 6


def stream(key: bytes, label: int, count: int) -> bytes:
    """AES-256 in counter mode over zeros: block i is AES(label as 8 bytes || i as 8 bytes), big-endian."""
    aes = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305 - the permutation, for CTR
    numbers = np.arange(-(-count // 16))
    blocks = np.stack([np.full_like(numbers, label), numbers], axis=1).astype(">u8")
    return aes.update(blocks.tobytes())[:count]


def integers(key: bytes, label: int, rows: int, columns: int, width: int) -> BigMatrix:
    """Little-endian integers of a given width in bytes, row by row."""
    data = stream(key, label, width * rows * columns)
    numbers: BigMatrix = np.frombuffer(data, f"<u{width}").astype(object).reshape(rows, columns)
    return numbers


def uniform(key: bytes, label: int, rows: int, columns: int, q: int) -> BigMatrix:
    """Words of log2(q) bits."""
    return integers(key, label, rows, columns, (q.bit_length() - 1) // 8)


def cbd(key: bytes, label: int, rows: int, columns: int) -> BigMatrix:
    """CBD(1): of each byte, bit 0 less bit 1."""
    byte = integers(key, label, rows, columns, 1)
    samples: BigMatrix = (byte & 1) - (byte >> 1 & 1)
    return samples


def tu(key: bytes, label: int, rows: int, columns: int, b: int) -> BigMatrix:
    """TU(b): the low b + 2 bits u of a byte, or of 4 bytes where b > 6, give (u >> 1) + (u & 1) - 2^b."""
    u = integers(key, label, rows, columns, 1 if b <= 6 else 4) % 2 ** (b + 2)  # noqa: PLR2004 - fits a byte
    samples: BigMatrix = (u >> 1) + (u & 1) - 2**b
    return samples


def keygen(p: Parameters, seed: bytes, seed_A: bytes) -> tuple[BigMatrix, BigMatrix]:
    """B = A S + E mod q, and S."""
    q = 2**p.q_bits
    A = uniform(seed_A, A_LABEL, p.n, p.n, q)
    S = cbd(seed, S_LABEL, p.n, p.slots)
    E = tu(seed, E_LABEL, p.n, p.slots, p.noise_bits)
    return (A @ S + E) % q, S


def encrypt(
    p: Parameters, seed_A: bytes, B: BigMatrix, X: BigMatrix, *, slot: int, key: bytes
) -> tuple[BigMatrix, BigMatrix]:
    """X [D, m] into slots slot..slot+m-1: C1 = R A + E1 [D, n], C2 = R B_slots + E2 + Delta X [D, m].

    E2 is read from its stream record by record, that is column by column.
    """
    (D, m), q = X.shape, 2**p.q_bits
    A = uniform(seed_A, A_LABEL, p.n, p.n, q)
    R = cbd(key, R_LABEL, D, p.n)
    E1 = tu(key, E1_LABEL, D, p.n, p.noise_bits)
    E2 = tu(key, E2_LABEL, m, D, p.noise_bits).T
    return (R @ A + E1) % q, (R @ B[:, slot : slot + m] + E2 + 2**p.delta_bits * X) % q


def add(
    p: Parameters, a: tuple[BigMatrix, BigMatrix], b: tuple[BigMatrix, BigMatrix]
) -> tuple[BigMatrix, BigMatrix]:
    """The ciphertext of the sums."""
    return (a[0] + b[0]) % 2**p.q_bits, (a[1] + b[1]) % 2**p.q_bits


def score(p: Parameters, C1: BigMatrix, C2: BigMatrix, w: BigMatrix) -> tuple[BigMatrix, BigMatrix]:
    """(w C1, w C2): the ciphertext, one row, of w X."""
    return (w @ C1) % 2**p.q_bits, (w @ C2) % 2**p.q_bits


def decrypt(p: Parameters, S: BigMatrix, C1: BigMatrix, C2: BigMatrix, slot: int) -> BigMatrix:
    """round((C2 - C1 S_slots) / Delta) as signed plaintexts; halves go up."""
    q, delta = 2**p.q_bits, 2**p.delta_bits
    phase = (C2 - C1 @ S[:, slot : slot + C2.shape[-1]]) % q
    rounded = (phase + delta // 2) // delta % (q // delta)
    signed: BigMatrix = np.where(rounded < q // delta // 2, rounded, rounded - q // delta)
    return signed
