"""FrodoKEM-640-SHAKE's known answers, with its matrix products computed by ``gemm``.

FrodoKEM (round 3 specification, 2021-06-04) is the scheme ours descends from, and the only one of that
family with published answers: 640 x 640 words times small matrices, mod 2**15, which divides 2**32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from stages.encrypt.lwe import gemm
from stages.encrypt.lwe.gemm import Method

# SHA-256 of PQCkemKAT_19888_shake.rsp (microsoft/PQCrypto-LWEKE, KAT/), as cloudflare/circl's
# kem/frodo/kat_test.go states it: 100 answers, each with seed, public and secret key, ciphertext, secret.
KNOWN_ANSWERS = "604a10cfc871dfaed9cb5b057c644ab03b16852cea7f39bc7f9831513b5b1cfa"
N, NBAR, Q_BITS, SECRET_BYTES = 640, 8, 15, 16
CDF = np.array([4643, 13363, 20579, 25843, 29227, 31145, 32103, 32525, 32689, 32745, 32762, 32766])


@dataclass(frozen=True)
class Answer:
    """One entry of the file."""

    seed: bytes
    pk: bytes
    sk: bytes
    ct: bytes
    ss: bytes
    recovered: bool  # the message, from the ciphertext and the secret matrix

    def text(self, count: int) -> str:
        """The entry as the file has it."""
        fields = {"seed": self.seed, "pk": self.pk, "sk": self.sk, "ct": self.ct, "ss": self.ss}
        lines = (f"{name} = {value.hex().upper()}\n" for name, value in fields.items())
        return f"count = {count}\n" + "".join(lines) + "\n"


class Drbg:
    """CTR_DRBG of SP 800-90A with AES-256, without derivation function: what the answers are made from."""

    def __init__(self, seed: bytes) -> None:
        self.key, self.counter = bytes(32), 0
        self._update(seed)

    def _blocks(self, count: int) -> bytes:
        numbers = [(self.counter + i + 1) % 2**128 for i in range(count)]
        self.counter = numbers[-1]
        aes = Cipher(algorithms.AES256(self.key), modes.ECB()).encryptor()  # noqa: S305 - the permutation
        return aes.update(b"".join(number.to_bytes(16, "big") for number in numbers))

    def _update(self, data: bytes = bytes(48)) -> None:
        mixed = bytes(a ^ b for a, b in zip(self._blocks(3), data, strict=True))
        self.key, self.counter = mixed[:32], int.from_bytes(mixed[32:], "big")

    def take(self, count: int) -> bytes:
        """The next bytes; the state moves on."""
        data = self._blocks(-(-count // 16))[:count]
        self._update()
        return data


def shake(data: bytes, count: int) -> bytes:
    """SHAKE128."""
    return hashlib.shake_128(data).digest(count)


def times(large: np.ndarray, small: np.ndarray, method: Method) -> np.ndarray:
    """Large times small mod 2**15: the product under test."""
    operand = gemm.prepare(torch.from_numpy(large.astype(np.int32)), method)
    return gemm.product(operand, torch.from_numpy(small.astype(np.int8))).numpy() % 2**Q_BITS


def matrix(seed: bytes) -> np.ndarray:
    """A, row i from SHAKE128(i || seedA)."""
    rows = (shake(i.to_bytes(2, "little") + seed, 2 * N) for i in range(N))
    return np.frombuffer(b"".join(rows), "<u2").reshape(N, N)


def samples(label: int, seed: bytes, count: int) -> np.ndarray:
    """Error samples by table look-up: magnitude from 15 bits, sign from one."""
    words = np.frombuffer(shake(bytes([label]) + seed, 2 * count), "<u2").astype(np.int64)
    magnitude = (words[:, None] >> 1 > CDF).sum(1)
    return np.where(words & 1, -magnitude, magnitude)


def packed(words: np.ndarray) -> bytes:
    """15 bits a word, the highest bit first."""
    bits = (words.reshape(-1, 1) >> np.arange(Q_BITS - 1, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()


def encoded(message: bytes) -> np.ndarray:
    """Two bits an entry, in the highest places of a word."""
    bits = np.unpackbits(np.frombuffer(message, np.uint8), bitorder="little").astype(np.int64)
    return (bits[0::2] + 2 * bits[1::2]).reshape(NBAR, NBAR) << Q_BITS - 2


def answer(seed: bytes, method: Method) -> Answer:
    """Key generation and encapsulation, FrodoKEM.KeyGen and FrodoKEM.Encaps."""
    drbg = Drbg(seed)
    secrets = drbg.take(3 * SECRET_BYTES)
    s, seed_SE, z = secrets[:16], secrets[16:32], secrets[32:]
    seed_A = shake(z, 16)
    A = matrix(seed_A)
    St, E = np.split(samples(0x5F, seed_SE, 2 * N * NBAR), 2)
    St, E = St.reshape(NBAR, N), E.reshape(N, NBAR)
    B = (times(A, St.T, method) + E) % 2**Q_BITS
    pk = seed_A + packed(B)
    pk_hash = shake(pk, SECRET_BYTES)
    sk = s + pk + St.astype("<i2").tobytes() + pk_hash

    message = drbg.take(SECRET_BYTES)
    expanded = shake(pk_hash + message, 2 * SECRET_BYTES)
    Sp, Ep, Epp = np.split(samples(0x96, expanded[:16], 2 * N * NBAR + NBAR**2), [N * NBAR, 2 * N * NBAR])
    Spt = Sp.reshape(NBAR, N).T
    Bp = (times(A.T, Spt, method).T + Ep.reshape(NBAR, N)) % 2**Q_BITS
    V = (times(B.T, Spt, method).T + Epp.reshape(NBAR, NBAR)) % 2**Q_BITS
    C = (V + encoded(message)) % 2**Q_BITS
    ct = packed(Bp) + packed(C)

    phase = (C - times(Bp, St.T, method)) % 2**Q_BITS
    rounded = ((phase + 2 ** (Q_BITS - 3)) % 2**Q_BITS) >> Q_BITS - 2 << Q_BITS - 2
    recovered = bool((rounded == encoded(message)).all())
    return Answer(seed, pk, sk, ct, shake(ct + expanded[16:], SECRET_BYTES), recovered)


def answers(method: Method) -> Iterator[Answer]:
    """The file's entries, in order."""
    seeds = Drbg(bytes(range(48)))
    while True:
        yield answer(seeds.take(48), method)


def test_a_hundred_known_answers_through_our_product() -> None:
    """Keys, ciphertexts and secrets equal the published file's, to the byte."""
    method = gemm.choose(torch.device("cpu"), N)
    digest = hashlib.sha256(b"# FrodoKEM-640-SHAKE\n\n")
    for count, one in enumerate(islice(answers(method), 100)):
        digest.update(one.text(count).encode())
        assert one.recovered
    assert digest.hexdigest() == KNOWN_ANSWERS


def test_both_methods_give_the_known_answers() -> None:
    """The method this machine did not choose gives the same first entries."""
    one, other = (list(islice(answers(method), 2)) for method in Method)
    assert one == other


@pytest.mark.parametrize("method", list(Method))
def test_a_wrong_product_does_not_give_them(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison sees a single wrong bit."""
    right, honest = next(answers(method)), gemm.product

    def wrong(large: gemm.Operand, small_nd: torch.Tensor) -> torch.Tensor:
        result_kd = honest(large, small_nd)
        result_kd[0, 0] ^= 1
        return result_kd

    monkeypatch.setattr(gemm, "product", wrong)
    assert next(answers(method)).ct != right.ct
