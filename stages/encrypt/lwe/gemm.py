"""Exact integer products mod 2**32 or 2**64 on tensors: a large matrix of words times a small one.

``product(prepare(K), s)`` is K s mod q for K of words and s of small integers. Words are two's
complement int32 or int64 throughout: torch has no unsigned arithmetic, and signed words wrap.

INT8: K is split once into balanced 8-bit limbs, four or eight, K = sum of K_l 2**(8 l) mod q with
-128 <= K_l <= 127, and multiplied by ``torch._int_mm``. On CPUs without VNNI the kernel underneath
adds pairs of products in saturating 16-bit arithmetic, (limb + 128) first, so it is exact only
while the *second* operand is small: 2 * 255 * SMALL < 2**15. That order is fixed here; so are the
paddings that CUDA asks for, and the layout: both operands run contiguously along the inner dimension,
the only one for which cuBLAS has int8 kernels on every device. ``choose`` proves the kernel on extreme
operands before it is used: on CUDA at full size, and against the CPU's float64, since a device does not
vouch for itself. On the CPU it measures too: where torch has no vector kernel (AVX2), int8 is right and
forty times slower. On CUDA float64 is the slower one, by 2 on some devices and by 64 on others.

FLOAT64: K is split into balanced 32-bit limbs, one or two. Every partial sum is an integer of at
most n SMALL 2**31 < 2**53 (MOST_N), hence exact in any order.

Whatever the shapes, the products between limbs and result stay below _CHUNK_WORDS x _CHUNK_COLUMNS.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice
from statistics import median
from time import perf_counter
from typing import Final

import torch

from stages.errors import is_of_device

SMALL: Final = 64  # largest magnitude of an entry of the small operand
MOST_N: Final = 1 << 16  # inner dimension: n SMALL 2**31 <= 2**53, and int8 sums stay in int32
_BYTE: Final = 8
_HALF: Final = 32  # bits of a FLOAT64 limb
_STEP: Final = 8  # CUDA: inner dimension and columns in multiples of 8
_LEAST_ROWS: Final = 32  # CUDA: more than 16 rows
_CHUNK_WORDS: Final = {"cpu": 1024, "cuda": 32768}  # rows of limbs at a time
_CHUNK_COLUMNS: Final = 1024
_TESTED_D: Final = (1, 24, 256)
_REPEATS: Final = 3  # of a measurement: the median passes over one interruption
_FAR: Final = 8  # times as slow: no interruption explains that
# Limbs, repeated from the lowest up, that saturate: all 127, all -128, the two alternating, either first.
_EXTREME: Final = ((127,), (-128,), (-128, 127), (127, -128))
_PLAIN: Final = (-1, 0, 0x12345678, -(2**31))


class Method(StrEnum):
    """How the product is computed; the result is the same."""

    INT8 = "int8"
    FLOAT64 = "float64"


@dataclass(frozen=True, slots=True)
class Operand:
    """K [k, n], split for one method: int8 limbs [k, 4 or 8, n padded] or float64 ones [k, 1 or 2, n]."""

    method: Method
    n: int
    word: torch.dtype  # int32 or int64
    parts: torch.Tensor

    def rows(self, lo: int, hi: int) -> Operand:
        """Rows lo..hi-1, without a copy."""
        return Operand(self.method, self.n, self.word, self.parts[lo:hi])


def prepare(K_kn: torch.Tensor, method: Method) -> Operand:
    """Split the large matrix (int32 or int64) once, where it lies."""
    k, n = K_kn.shape
    if K_kn.dtype not in {torch.int32, torch.int64} or n > MOST_N:
        raise ValueError(f"the large operand is {K_kn.dtype} [{k}, {n}], not words [k, n <= {MOST_N}]")
    split = _int8_limbs if method is Method.INT8 else _float64_limbs
    return Operand(method, n, K_kn.dtype, split(K_kn))


def product(large: Operand, small_nd: torch.Tensor) -> torch.Tensor:
    """K s mod q as words [k, d]; ``small_nd`` is int8 with entries of at most SMALL."""
    if small_nd.dtype != torch.int8 or small_nd.shape[0] != large.n:
        raise ValueError(
            f"the small operand is {small_nd.dtype} {tuple(small_nd.shape)}, not int8 [{large.n}, d]"
        )
    k, limbs, padded_n = large.parts.shape
    d = small_nd.shape[1]
    result_kd = torch.empty(k, d, dtype=large.word, device=small_nd.device)
    rows = _CHUNK_WORDS[small_nd.device.type] // limbs
    for left in range(0, d, _CHUNK_COLUMNS):
        part_nc = small_nd[:, left : left + _CHUNK_COLUMNS]
        if large.method is Method.INT8:
            part_nc = _padded(part_nc.T, _up(part_nc.shape[1]), padded_n).contiguous().T
        else:
            part_nc = part_nc.to(torch.float64)
        for top in range(0, k, rows):
            out_rc = result_kd[top : top + rows, left : left + _CHUNK_COLUMNS]
            _multiply(large.parts[top : top + rows], part_nc, out_rc)
    return result_kd


def choose(device: torch.device, n: int, word: torch.dtype = torch.int32) -> Method:
    """INT8 where it is exact on extreme words of this type and, on the CPU, no slower; else FLOAT64."""
    on_gpu = device.type == "cuda"
    rows = n if on_gpu else 1  # CUDA chooses its kernel by shape
    try:
        if not on_gpu and _int8_is_slower(*_extreme_operands(n, _TESTED_D[-1], word)):
            return Method.FLOAT64
        exact = all(_is_exact(device, *_extreme_operands(n, d, word), rows) for d in _TESTED_D)
    except RuntimeError as error:
        if is_of_device(error) and "NOT_SUPPORTED" not in str(error):
            raise  # FLOAT64 would fail as well
        exact = False  # no such kernel on this device
    return Method.INT8 if exact else Method.FLOAT64


def _int8_limbs(K_kn: torch.Tensor) -> torch.Tensor:
    """With every byte b_l of K + 0x80..80, K = sum of (b_l - 128) 2**(8 l) mod q."""
    k, n = K_kn.shape
    limbs = K_kn.element_size()
    shifted_kn = K_kn + torch.tensor(_word([-128] * limbs), dtype=K_kn.dtype, device=K_kn.device).neg()
    octets_knl = (shifted_kn.contiguous().view(torch.uint8) ^ 0x80).view(torch.int8).reshape(k, n, limbs)
    limbs_kln = torch.zeros(k, limbs, _up(n), dtype=torch.int8, device=K_kn.device)
    limbs_kln[:, :, :n] = octets_knl.transpose(1, 2)
    return limbs_kln


def _float64_limbs(K_kn: torch.Tensor) -> torch.Tensor:
    """K = low + high 2**32 mod q with both in [-2**31, 2**31)."""
    low_kn = K_kn.to(torch.int32)  # keeps the low 32 bits
    if K_kn.dtype == torch.int32:
        return low_kn[:, None].to(torch.float64)
    high_kn = (K_kn - low_kn) >> _HALF
    return torch.stack([low_kn.to(torch.float64), high_kn.to(torch.float64)], 1)


def _multiply(limbs_rln: torch.Tensor, small_nc: torch.Tensor, out_rc: torch.Tensor) -> None:
    """One chunk: all limbs in one product, then Horner's rule, wrapping, which reduces mod q."""
    rows, limbs, n = limbs_rln.shape
    columns = out_rc.shape[1]
    flat_mn = limbs_rln.reshape(-1, n)
    if small_nc.dtype == torch.float64:
        bits, product_md = _HALF, (flat_mn @ small_nc).to(torch.int64)
    else:
        tall_mn = _padded(flat_mn, max(_LEAST_ROWS, rows * limbs), n)
        bits, product_md = _BYTE, torch._int_mm(tall_mn, small_nc)  # noqa: SLF001 - torch's only int8 product
    product_rlc = product_md[: rows * limbs, :columns].reshape(rows, limbs, columns)
    out_rc.copy_(product_rlc[:, -1])
    for limb in reversed(range(limbs - 1)):
        out_rc.bitwise_left_shift_(bits).add_(product_rlc[:, limb])


def _padded(matrix: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """The matrix with zero rows and columns behind it; itself where none are missing."""
    if matrix.shape == (rows, columns):
        return matrix
    return torch.nn.functional.pad(matrix, (0, columns - matrix.shape[1], 0, rows - matrix.shape[0]))


def _is_exact(device: torch.device, words_kn: torch.Tensor, small_nd: torch.Tensor, rows: int) -> bool:
    """Whether INT8 there equals FLOAT64 on the CPU, the small operand in either layout.

    For one row, and for all of them, repeated until there are ``rows`` at least.
    """
    expected_kd = product(prepare(words_kn, Method.FLOAT64), small_nd)
    repeats = -(-rows // len(words_kn))
    tall = prepare(words_kn.repeat(repeats, 1).to(device), Method.INT8)
    by_row_nd = small_nd.to(device).contiguous()
    by_column_nd = by_row_nd.T.contiguous().T
    return all(
        torch.equal(product(tall.rows(0, many), small).cpu(), expected_kd.repeat(repeats, 1)[:many])
        for many in (1, repeats * len(words_kn))
        for small in (by_row_nd, by_column_nd)
    )


def _extreme_operands(n: int, d: int, word: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Where saturation, signedness or padding would show: 256 rows of limbs, and a small operand."""
    limbs = torch.iinfo(word).bits // _BYTE
    extreme = [_word(list(islice(cycle(pattern), limbs))) for pattern in _EXTREME]
    ramp_n = torch.arange(n, dtype=word)
    constant_kn = torch.tensor([*extreme, *_PLAIN], dtype=word)[:, None].expand(-1, n)
    words_kn = torch.cat([constant_kn, constant_kn + ramp_n * _word([1] * limbs)]).repeat(16 // limbs, 1)
    small_nd = ((ramp_n[:, None] + torch.arange(d)) % 3 - 1).to(torch.int8)
    small_nd[:, : d // 3] = 1
    small_nd[:, d // 3 : d // 2] = -1
    return words_kn, small_nd


def _int8_is_slower(K_kn: torch.Tensor, small_nd: torch.Tensor) -> bool:
    """On the CPU; a kernel that is slower by far is called once."""
    limit = _seconds(K_kn, small_nd, Method.FLOAT64, _REPEATS)
    took = _seconds(K_kn, small_nd, Method.INT8, 1)
    return took > _FAR * limit or _seconds(K_kn, small_nd, Method.INT8, _REPEATS) > limit


def _seconds(K_kn: torch.Tensor, small_nd: torch.Tensor, method: Method, repeats: int) -> float:
    """That the product takes on the CPU, the median."""
    operand, took = prepare(K_kn, method), []
    for _ in range(repeats):
        start = perf_counter()
        product(operand, small_nd)
        took.append(perf_counter() - start)
    return median(took)


def _word(limbs: list[int]) -> int:
    """The two's complement word with these limbs, the lowest first."""
    bits = _BYTE * len(limbs)
    word = sum(limb << _BYTE * place for place, limb in enumerate(limbs)) % (1 << bits)
    return word - (1 << bits) if word >> bits - 1 else word


def _up(size: int) -> int:
    return -(-size // _STEP) * _STEP
