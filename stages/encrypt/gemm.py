"""Exact integer products mod 2**32 on tensors: a large matrix of words times a small one.

``product(prepare(K), s)`` is K s mod 2**32 for K of 32-bit words and s of small integers. Words are
two's complement int32 throughout: torch has no uint32 arithmetic, and int32 wraps.

INT8: K is split once into four balanced 8-bit limbs, K = sum of K_l 2**(8 l) mod 2**32 with
-128 <= K_l <= 127, and multiplied by ``torch._int_mm``. On CPUs without VNNI the kernel underneath
adds pairs of products in saturating 16-bit arithmetic, (limb + 128) first, so it is exact only
while the *second* operand is small: 2 * 255 * SMALL < 2**15. That order is fixed here; so are the
paddings that CUDA asks for. ``choose`` proves the kernel on extreme operands before it is used.

FLOAT64: every partial sum is an integer below n SMALL 2**31 < 2**53, hence exact in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import torch

SMALL: Final = 64  # largest magnitude of an entry of the small operand
_LIMBS: Final = 4
_STEP: Final = 8  # CUDA: inner dimension and columns in multiples of 8
_LEAST_ROWS: Final = 32  # CUDA: more than 16 rows
_CHUNK_ROWS: Final = {"cpu": 256, "cuda": 8192}  # rows of K at a time: bounds the int32 products
_TESTED_D: Final = (1, 24, 256)
# Words whose limbs are all 127, all -128, the two alternating, either first; then plainer ones.
_EXTREME: Final = (0x7F7F7F7F, 0x7F7F7F80, 0x7E807E80, -0x7F817F81, -1, 0, 0x12345678, -(2**31))


class Method(StrEnum):
    """How the product is computed; the result is the same."""

    INT8 = "int8"
    FLOAT64 = "float64"


@dataclass(frozen=True, slots=True)
class Operand:
    """K [k, n], split for one method: int8 limbs [k, 4, n padded] or float64 [k, n]."""

    method: Method
    n: int
    parts: torch.Tensor

    def rows(self, lo: int, hi: int) -> Operand:
        """Rows lo..hi-1, without a copy."""
        return Operand(self.method, self.n, self.parts[lo:hi])


def prepare(K_kn: torch.Tensor, method: Method) -> Operand:
    """Split the large matrix (int32) once, where it lies."""
    if method is Method.FLOAT64:
        return Operand(method, K_kn.shape[1], K_kn.to(torch.float64))
    k, n = K_kn.shape
    # With every byte b_l of K + 0x80808080, K = sum of (b_l - 128) 2**(8 l) mod 2**32.
    shifted_kn = K_kn + torch.tensor(0x80808080 - 2**32, dtype=torch.int32, device=K_kn.device)
    limbs_kn4 = (shifted_kn.contiguous().view(torch.uint8) ^ 0x80).view(torch.int8).reshape(k, n, _LIMBS)
    limbs_k4n = torch.zeros(k, _LIMBS, _up(n), dtype=torch.int8, device=K_kn.device)
    limbs_k4n[:, :, :n] = limbs_kn4.transpose(1, 2)
    return Operand(method, n, limbs_k4n)


def product(large: Operand, small_nd: torch.Tensor) -> torch.Tensor:
    """K s mod 2**32 as int32 [k, d]; ``small_nd`` is int8 with entries of at most SMALL."""
    if small_nd.dtype != torch.int8 or small_nd.shape[0] != large.n:
        raise ValueError(
            f"the small operand is {small_nd.dtype} {tuple(small_nd.shape)}, not int8 [{large.n}, d]"
        )
    if large.method is Method.FLOAT64:
        exact_kd = (large.parts @ small_nd.to(torch.float64)).to(torch.int64)
        return exact_kd.to(torch.int32)  # keeps the low 32 bits
    return _product_int8(large.parts, small_nd)


def choose(device: torch.device, n: int) -> Method:
    """INT8 where it proves itself on extreme operands of this inner dimension, else FLOAT64."""
    try:
        return Method.INT8 if all(_int8_is_exact(device, n, d) for d in _TESTED_D) else Method.FLOAT64
    except RuntimeError:  # torch: no such kernel on this device
        return Method.FLOAT64


def _product_int8(limbs_k4n: torch.Tensor, small_nd: torch.Tensor) -> torch.Tensor:
    k, _, padded_n = limbs_k4n.shape
    d = small_nd.shape[1]
    small_nd = _padded(small_nd, padded_n, _up(d))
    result_kd = torch.empty(k, d, dtype=torch.int32, device=small_nd.device)
    chunk = _CHUNK_ROWS[small_nd.device.type]
    for lo in range(0, k, chunk):
        rows_mn = limbs_k4n[lo : lo + chunk].reshape(-1, padded_n)
        tall_mn = _padded(rows_mn, max(_LEAST_ROWS, rows_mn.shape[0]), padded_n)
        limb_md = torch._int_mm(tall_mn, small_nd)  # noqa: SLF001 - torch's only int8 product
        limb_k4d = limb_md[: rows_mn.shape[0], :d].reshape(-1, _LIMBS, d)
        _recombine(limb_k4d, result_kd[lo : lo + chunk])
    return result_kd


def _padded(matrix: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """The matrix with zero rows and columns behind it; itself where none are missing."""
    if matrix.shape == (rows, columns):
        return matrix
    return torch.nn.functional.pad(matrix, (0, columns - matrix.shape[1], 0, rows - matrix.shape[0]))


def _recombine(limb_k4d: torch.Tensor, out_kd: torch.Tensor) -> None:
    """Horner's rule in 2**8; int32 wraps, which is the reduction mod 2**32."""
    torch.bitwise_left_shift(limb_k4d[:, 3], 8, out=out_kd)
    for limb in (2, 1):
        out_kd.add_(limb_k4d[:, limb]).bitwise_left_shift_(8)
    out_kd.add_(limb_k4d[:, 0])


def _int8_is_exact(device: torch.device, n: int, d: int) -> bool:
    """Compare with FLOAT64 where saturation, signedness or padding would show: one row and many."""
    ramp_n = torch.arange(n, dtype=torch.int32)
    constant_kn = torch.tensor(_EXTREME, dtype=torch.int32)[:, None].expand(-1, n)
    words_kn = torch.cat([constant_kn, constant_kn + ramp_n * 0x01010101]).repeat(4, 1).to(device)
    small_nd = ((ramp_n[:, None] + torch.arange(d)) % 3 - 1).to(torch.int8)
    small_nd[:, : d // 3] = 1
    small_nd[:, d // 3 : d // 2] = -1
    small_nd = small_nd.to(device)
    for rows_kn in (words_kn, words_kn[:1]):
        fast_kd = product(prepare(rows_kn, Method.INT8), small_nd)
        if not torch.equal(fast_kd, product(prepare(rows_kn, Method.FLOAT64), small_nd)):
            return False
    return True


def _up(size: int) -> int:
    return -(-size // _STEP) * _STEP
