"""LWE public-key encryption of blocks of records, and their addition: what needs no secret.

Lindner-Peikert encryption in Frodo's form, amortised over columns as in Peikert, Vaikuntanathan and
Waters 2008: one LWE row per feature, one slot of the key per record. ``reference.py`` is the
specification; what is computed here equals it bit for bit on every device.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from stages.encrypt.lwe import gemm, sampling
from stages.encrypt.lwe.blank import Blank
from stages.encrypt.lwe.errors import ForeignKeyError, PlaintextOverflowError, ShapeError
from stages.encrypt.lwe.parameters import require_known
from stages.encrypt.lwe.quantise import rounding_slack
from stages.encrypt.lwe.sampling import KEY_BYTES, Stream
from stages.encrypt.lwe.wire import Header, LwePublicKey, Words, check_block


@dataclass(frozen=True, slots=True)
class EncryptedBlock:
    """Ciphertext of N records with D features: a shared head and one column, stored as a row, each."""

    header: Header
    head_Dn: Words = field(repr=False)
    columns_ND: Words = field(repr=False)


class Encryptor:
    """A public key made ready on one device: its limbs are split once, for many blocks."""

    def __init__(
        self,
        public: LwePublicKey,
        device: str = "cpu",
        randomness: Callable[[int], bytes] = os.urandom,
        method: gemm.Method | None = None,
    ) -> None:
        parameters = public.parameters
        require_known(parameters)
        n, word = parameters.n, parameters.word
        self.public = public
        self.device = torch.device(device)
        on_gpu = self.device.type == "cuda"
        self._stream = torch.cuda.Stream(self.device) if on_gpu else None  # type: ignore[no-untyped-call]  # stub gap
        A_nn = sampling.uniform(public.seed_A, Stream.MATRIX, (n, n), parameters.q_bits)
        self._randomness = randomness
        B_nl = torch.tensor(public.B_nl.view(f"<i{word.itemsize}"))
        with self._on_stream():
            self.method = method or gemm.choose(self.device, n, A_nn.dtype)
            self._key = gemm.prepare(torch.cat([A_nn, B_nl], 1).T.to(self.device), self.method)  # [n + l, n]

    def encrypt(
        self, plain_ND: NDArray[np.integer], *, slot: int, scale: int, blank: Blank | None = None
    ) -> EncryptedBlock:
        """A fresh block of these records in slots slot.. ; no column may be longer than its scale allows.

        C1 = R A + E1, C2 = R B[:, slot:slot+N] + E2 + Delta X, with R, E1, E2 from a key used once. A blank
        made ahead for this slot and at least N records is used up, and leaves only Delta X to add.
        """
        parameters = self.public.parameters
        if plain_ND.ndim != 2 or plain_ND.dtype.kind not in "iu":  # noqa: PLR2004 - a matrix
            raise ShapeError(f"plaintexts are integers [N, D], not {plain_ND.dtype} {plain_ND.shape}")
        N, D = plain_ND.shape
        header = Header(parameters, self.public.key_id, D, scale, slot, N)
        header.check()
        _check_range(header, plain_ND)
        if blank is None:
            blank = self.blank(D, N, slot)
        head_Dn, mask_ND = blank.take(header)
        return EncryptedBlock(
            header, head_Dn, mask_ND + (plain_ND.astype(parameters.word) << parameters.delta_bits)
        )

    def blank(self, dimensions: int, count: int = 1, slot: int = 0) -> Blank:
        """All of a block's encryption but its message, for one block of at most ``count`` records."""
        parameters, device = self.public.parameters, self.device
        Header(parameters, self.public.key_id, dimensions, 1, slot, count).check()
        n, D, bits = parameters.n, dimensions, parameters.noise_bits
        key = self._randomness(KEY_BYTES)
        with self._on_stream():
            R_Dn = sampling.cbd(sampling.octets(key, Stream.MASK, (D, n), device))
            # Both products transposed, K^T R^T, so that the small operand comes second (see gemm).
            C1_nD = gemm.product(self._key.rows(0, n), R_Dn.T)
            mask_ND = gemm.product(self._key.rows(n + slot, n + slot + count), R_Dn.T)
            # A GPU multiplies while the CPU draws these.
            E1_Dn = sampling.noise(key, Stream.HEAD_NOISE, (D, n), bits, device)
            E2_ND = sampling.noise(key, Stream.COLUMN_NOISE, (count, D), bits, device)
            C1_Dn = C1_nD.T.contiguous().add_(E1_Dn)
            head_Dn, columns_ND = self._on_host(C1_Dn, mask_ND.add_(E2_ND))
        return Blank(self.public.key_id, slot, head_Dn, columns_ND)

    def _on_stream(self) -> AbstractContextManager[object]:
        """On the encryptor's own stream: what else this process computes on the device goes on beside it."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _on_host(self, *parts: torch.Tensor) -> list[Words]:
        """The words in this process's memory, pinned where they come from a GPU."""
        if self._stream is not None:
            pinned = [torch.empty(one.shape, dtype=one.dtype, pin_memory=True) for one in parts]
            for host, part in zip(pinned, parts, strict=True):
                host.copy_(part, non_blocking=True)
            self._stream.synchronize()
            parts = tuple(pinned)
        return [part.numpy().view(self.public.parameters.word) for part in parts]


def add(a: EncryptedBlock, b: EncryptedBlock) -> EncryptedBlock:
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
    return EncryptedBlock(header, a.head_Dn + b.head_Dn, a.columns_ND + b.columns_ND)


def _check_range(header: Header, plain_ND: NDArray[np.integer]) -> None:
    bound = header.parameters.plaintext_bound
    if plain_ND.size and not (plain_ND.min() >= -bound and plain_ND.max() < bound):
        raise PlaintextOverflowError(f"a plaintext is outside [-{bound}, {bound})")
    wide_ND = plain_ND.astype(np.float64)
    longest = header.scale + rounding_slack(header.dimensions)
    if (np.einsum("nd,nd->n", wide_ND, wide_ND) > longest**2).any():
        raise PlaintextOverflowError(f"a record is longer than its scale of {header.scale} allows")
