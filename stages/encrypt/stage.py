"""The encryption stage: one batch of features becomes one LWE block under the owner's public key.

The stage holds public keys and the key it signs its blocks with. Every block gets fresh randomness, so
running it again gives other bytes of the same records; the index keeps whichever was made durable first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch

from stages.base import Reason, Reject, Split
from stages.batches import Features, Sealed
from stages.encrypt.keys.worker import BlockSigner, load_signer
from stages.encrypt.lwe.quantise import quantise_rows, scale_for
from stages.encrypt.lwe.scheme import Encryptor
from stages.encrypt.options import EncryptOptions
from stages.encrypt.public.folder import load_public


@dataclass(frozen=True, slots=True)
class Encrypt:
    """Features in, one sealed block out; rows outside the plaintext range are rejected."""

    name: ClassVar[str] = "encrypt"

    options: EncryptOptions
    keys: Path
    device: str = "cpu"

    @contextmanager
    def open(self) -> Iterator[Callable[[Features], Split[Sealed]]]:
        """Load the worker's key, load the public key and split it for the integer GEMM, once."""
        threads = torch.get_num_threads()
        torch.set_num_threads(self.options.threads)
        encryptor, signer = Encryptor(load_public(self.keys).lwe, self.device), load_signer(self.keys)
        try:
            yield lambda batch: encrypt_batch(encryptor, signer, batch)
        finally:
            torch.set_num_threads(threads)


def encrypt_batch(encryptor: Encryptor, signer: BlockSigner, batch: Features) -> Split[Sealed]:
    """One signed block in the key's first slots; the engine promises no more rows than slots."""
    most = encryptor.public.parameters.slots
    if len(batch) > most:
        raise ValueError(f"{len(batch)} rows came for an LWE block of at most {most}: lower flow.block")
    scale = scale_for(encryptor.public.parameters, batch.feature_ND.shape[1])
    plain_ND, fits_N = quantise_rows(batch.feature_ND, scale)
    kept = [row for row, fits in enumerate(fits_N) if fits]
    block = encryptor.encrypt(plain_ND[kept], slot=0, scale=scale)
    sealed = Sealed(batch.rows.take(kept), block.header.encode(), block.head_Dn, block.columns_ND)
    rejected = tuple(_overflow(batch.rows.keys[row]) for row, fits in enumerate(fits_N) if not fits)
    return Split(replace(sealed, signature=signer.sign(sealed)), rejected)


def _overflow(key: bytes) -> Reject:
    detail = "The feature vector is not finite or longer than one, so it does not fit the plaintext range."
    return Reject(key, Encrypt.name, Reason.OVERFLOW, detail)
