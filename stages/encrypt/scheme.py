"""LWE public-key encryption of blocks of records, and their addition: what needs no secret.

Lindner-Peikert encryption in Frodo's form, amortised over columns as in Peikert, Vaikuntanathan and
Waters 2008: one LWE row per feature, one slot of the key per record. ``reference.py`` is the
specification; what is computed here equals it bit for bit on every device.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from stages.encrypt import gemm, sampling
from stages.encrypt.errors import ForeignKeyError, PlaintextOverflowError, ShapeError
from stages.encrypt.parameters import require_known
from stages.encrypt.quantise import rounding_slack
from stages.encrypt.sampling import KEY_BYTES, Stream
from stages.encrypt.wire import Header, PublicKey, check_block


@dataclass(frozen=True, slots=True)
class Block:
    """Ciphertext of N records with D features: a shared head and one column, stored as a row, each."""

    header: Header
    head_Dn: NDArray[np.uint32] = field(repr=False)
    columns_ND: NDArray[np.uint32] = field(repr=False)


class Encryptor:
    """A public key made ready on one device: its limbs are split once, for many blocks."""

    def __init__(
        self,
        public: PublicKey,
        device: str = "cpu",
        randomness: Callable[[int], bytes] = os.urandom,
        method: gemm.Method | None = None,
    ) -> None:
        parameters = public.parameters
        require_known(parameters)
        self.public = public
        self.device = torch.device(device)
        self.method = method or gemm.choose(self.device, parameters.n)
        self._randomness = randomness
        A_nn = sampling.uniform(public.seed_A, Stream.MATRIX, (parameters.n, parameters.n))
        B_nl = torch.tensor(public.B_nl.view(np.int32))
        self._key = gemm.prepare(torch.cat([A_nn, B_nl], 1).T.to(self.device), self.method)  # [n + l, n]

    def encrypt(self, plain_ND: NDArray[np.integer], *, slot: int, scale: int) -> Block:
        """A fresh block of these records in slots slot.. ; no column may be longer than its scale allows.

        C1 = R A + E1, C2 = R B[:, slot:slot+N] + E2 + Delta X, with R, E1, E2 from a key used once.
        """
        parameters, device = self.public.parameters, self.device
        if plain_ND.ndim != 2 or plain_ND.dtype.kind not in "iu":  # noqa: PLR2004 - a matrix
            raise ShapeError(f"plaintexts are integers [N, D], not {plain_ND.dtype} {plain_ND.shape}")
        N, D = plain_ND.shape
        header = Header(parameters, self.public.key_id, D, scale, slot, N)
        header.check()
        _check_range(header, plain_ND)
        key = self._randomness(KEY_BYTES)
        R_Dn = sampling.cbd(sampling.octets(key, Stream.MASK, (D, parameters.n), device))
        E1_Dn = sampling.tu(
            sampling.octets(key, Stream.HEAD_NOISE, (D, parameters.n), device), parameters.noise_bits
        )
        E2_ND = sampling.tu(sampling.octets(key, Stream.COLUMN_NOISE, (N, D), device), parameters.noise_bits)
        X_ND = torch.from_numpy(plain_ND.astype(np.int32)).to(device)
        # Both products transposed, K^T R^T, so that the small operand comes second (see gemm).
        C1_nD = gemm.product(self._key.rows(0, parameters.n), R_Dn.T)
        C2_ND = gemm.product(self._key.rows(parameters.n + slot, parameters.n + slot + N), R_Dn.T)
        C1_Dn = C1_nD.T.contiguous().add_(E1_Dn)
        C2_ND.add_(E2_ND).add_(X_ND.bitwise_left_shift_(parameters.delta_bits))
        return Block(header, _words(C1_Dn), _words(C2_ND))


def add(a: Block, b: Block) -> Block:
    """The block of the sums of two blocks' records, slot by slot."""
    for block in (a, b):
        check_block(block.header, block.head_Dn, block.columns_ND)
    if a.header.key_id != b.header.key_id:
        raise ForeignKeyError("blocks made under different keys cannot be added")
    if replace(a.header, terms=b.header.terms) != b.header:
        raise ShapeError("only blocks with the same dimensions, scale and slots can be added")
    header = replace(a.header, terms=a.header.terms + b.header.terms)
    if header.terms > header.parameters.max_terms:
        raise PlaintextOverflowError(
            f"a sum of {header.terms} blocks may not decrypt: {header.parameters.name} allows "
            f"{header.parameters.max_terms}"
        )
    if header.norm_bound >= header.parameters.plaintext_bound:
        raise PlaintextOverflowError(f"a sum of {header.terms} blocks of scale {header.scale} may overflow")
    return Block(header, a.head_Dn + b.head_Dn, a.columns_ND + b.columns_ND)


def _check_range(header: Header, plain_ND: NDArray[np.integer]) -> None:
    bound = header.parameters.plaintext_bound
    if plain_ND.size and not (plain_ND.min() >= -bound and plain_ND.max() < bound):
        raise PlaintextOverflowError(f"a plaintext is outside [-{bound}, {bound})")
    wide_ND = plain_ND.astype(np.float64)
    longest = header.scale + rounding_slack(header.dimensions)
    if (np.einsum("nd,nd->n", wide_ND, wide_ND) > longest**2).any():
        raise PlaintextOverflowError(f"a record is longer than its scale of {header.scale} allows")


def _words(tensor: torch.Tensor) -> NDArray[np.uint32]:
    return tensor.cpu().numpy().view(np.uint32)
