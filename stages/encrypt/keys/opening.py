"""Opening of partial sums and of sealed identities: what only the key holder runs, beside ``owner``.

The sum is rounded here, before it leaves the key holder's process. Where it is exact nothing of the noise
is left in it; where it is approximate a trace remains, so approximate sums, like scores, must not go back
to a party that holds the ciphertexts and chooses the cohorts (IND-CPA-D, Li and Micciancio 2021).
"""

from __future__ import annotations

import numpy as np
import torch
from cryptography.exceptions import InvalidTag
from numpy.typing import NDArray

from stages.encrypt.keys.folder import OwnerKeys
from stages.encrypt.keys.owner import SecretKey
from stages.encrypt.lwe import gemm
from stages.encrypt.lwe.cohort import Partial, most_records
from stages.encrypt.lwe.errors import ForeignKeyError, PlaintextOverflowError, ShapeError
from stages.encrypt.lwe.wire import Words
from stages.encrypt.public.sealing import DOMAIN, SEAL_OVERHEAD, SUITE, VERSION, SealError


def open_sum(key: SecretKey, partial: Partial) -> NDArray[np.int64]:
    """The sum of the records' integers, [D]: round((sum of C2 - C1 times the sum of the S_j) / Delta)."""
    header, parameters = partial.header, key.parameters
    if header.key_id != key.key_id or header.parameters != parameters:
        raise ForeignKeyError(
            f"the records are under key {header.key_id.hex()[:16]}, this is key {key.key_id.hex()[:16]}"
        )
    if partial.records > most_records(header):
        raise PlaintextOverflowError(f"a sum of {partial.records} records may leave the plaintext range")
    words, D = parameters.word, header.dimensions
    if partial.head_Dn.shape != (D, parameters.n) or partial.total_D.shape != (D,):
        raise ShapeError(f"the partial sum is not one of {D} features under {parameters.name}")
    if partial.head_Dn.dtype != words or partial.total_D.dtype != words:
        raise ShapeError(f"the partial sum is not of {parameters.q_bits}-bit words")
    phase_D = partial.total_D - _mask(key, partial)
    half = words.type(1 << (parameters.delta_bits - 1))
    signed = np.dtype(f"i{words.itemsize}")
    sum_D: NDArray[np.int64] = (phase_D + half).view(signed).astype(np.int64) >> parameters.delta_bits
    return sum_D


def _mask(key: SecretKey, partial: Partial) -> Words:
    """C1 times the sum of the S_j, mod q; the S_j are added in groups that the exact product allows."""
    words = key.parameters.word
    slots_N = partial.positions_N.astype(np.int64) + partial.header.slot
    groups = (slots_N[lo : lo + gemm.SMALL] for lo in range(0, len(slots_N), gemm.SMALL))
    S_nG = torch.stack([key.S_nl[:, torch.from_numpy(some)].sum(1, dtype=torch.int8) for some in groups], 1)
    head = torch.from_numpy(np.array(partial.head_Dn, words).view(f"i{words.itemsize}"))
    masks_DG = gemm.product(gemm.prepare(head, gemm.Method.FLOAT64), S_nG)
    mask_D: Words = masks_DG.numpy().view(words).sum(axis=1, dtype=words)
    return mask_D


def open_sealed(owner: OwnerKeys, sealed: bytes, aad: bytes) -> bytes:
    """What was sealed to this owner with this ``aad``."""
    if len(sealed) < SEAL_OVERHEAD:
        raise SealError(f"sealed data is truncated: {len(sealed)} bytes, at least {SEAL_OVERHEAD} are needed")
    if sealed[:1] != VERSION:
        raise SealError(f"sealed data has version {sealed[0]}, this program reads version {VERSION[0]}")
    try:
        return SUITE.decrypt(sealed[1:], owner.hpke, info=DOMAIN + aad)
    except InvalidTag:
        raise SealError("sealed data does not open: it is damaged, for another owner, or misplaced") from None
