"""What only the key holder runs: key generation, decryption, opening of scores.

Everything is rounded before it is returned: raw phases C2 - C1 S carry the noise, and a
party that collects noise together with plaintexts solves for S (IND-CPA-D, Li and Micciancio 2021).
Records, sums and exact scores are free of noise. Approximate scores are rounded to a grid, which hides
most of their noise and not all: they are for the key holder, and must not go back to a party that holds
ciphertexts and chooses queries. The index server never imports this.

The float64 product is used throughout: it is exact on any machine without a self-test.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from stages.encrypt.lwe import gemm, sampling
from stages.encrypt.lwe.errors import ForeignKeyError, PlaintextOverflowError, ShapeError
from stages.encrypt.lwe.parameters import Parameters, require_known
from stages.encrypt.lwe.sampling import Stream
from stages.encrypt.lwe.search import BlockScores, Weights, check_weights, score_bound, score_is_exact
from stages.encrypt.lwe.wire import Header, LwePublicKey, Words, check_block, public_key

COSINE_GRID: Final = 2.0**-12  # about four standard deviations of a score's noise at the default scales


@dataclass(frozen=True, slots=True)
class SecretKey:
    """S, expanded from its seed, and the id of the public key that it opens."""

    parameters: Parameters
    key_id: bytes
    S_nl: torch.Tensor = field(repr=False)  # int8 in {-1, 0, 1}


def expand_secret(parameters: Parameters, seed: bytes, key_id: bytes) -> SecretKey:
    """S <- CBD(1) from the 32-byte secret seed."""
    shape = (parameters.n, parameters.slots)
    return SecretKey(parameters, key_id, sampling.cbd(sampling.octets(seed, Stream.SECRET, shape)))


def generate(parameters: Parameters, seed: bytes, seed_A: bytes) -> LwePublicKey:
    """KeyGen: B = A S + E, everything from two seeds.

    One secret seed is used with one seed_A only: under a second A the same E would cancel.
    """
    require_known(parameters)
    n, slots = parameters.n, parameters.slots
    A_nn = sampling.uniform(seed_A, Stream.MATRIX, (n, n), parameters.q_bits)
    S_nl = sampling.cbd(sampling.octets(seed, Stream.SECRET, (n, slots)))
    E_nl = sampling.noise(seed, Stream.KEY_NOISE, (n, slots), parameters.noise_bits)
    B_nl = gemm.product(gemm.prepare(A_nn, gemm.Method.FLOAT64), S_nl).add_(E_nl)
    return public_key(parameters, seed_A, B_nl.numpy().view(parameters.word))


def decrypt(
    key: SecretKey,
    header: Header,
    head_Dn: Words,
    columns_ND: Words,
    positions_N: NDArray[np.uint32] | None = None,
) -> NDArray[np.int64]:
    """Plaintexts [N, D] of a block's columns, all or those at these positions: round((C2 - C1 S) / Delta)."""
    _require_own(key, header)
    masks_DN = _masks(key, header, head_Dn, check_block(header, head_Dn, columns_ND, positions_N))
    return _round(columns_ND - masks_DN.T, key.parameters)


def open_scores(
    key: SecretKey, header: Header, answer: BlockScores, weights_D: Weights
) -> NDArray[np.float64]:
    """The cosine of the query with each of the block's N records, in [-1, 1].

    From exact scores where these weights allow it, else on COSINE_GRID.
    """
    scores_N = _open_sums(key, header, answer, weights_D)
    norm = header.terms * header.scale * float(np.linalg.norm(weights_D))
    cosine_N = scores_N / norm
    if not score_is_exact(header, weights_D):
        cosine_N = np.round(cosine_N / COSINE_GRID) * COSINE_GRID
    return np.clip(cosine_N, -1.0, 1.0)


def _open_sums(key: SecretKey, header: Header, answer: BlockScores, weights_D: Weights) -> NDArray[np.int64]:
    """The linear scores w . x_j of the N records, maybe off by units of noise: not to be released as such."""
    _require_own(key, header)
    check_weights(header, weights_D)
    if score_bound(header, weights_D) >= key.parameters.plaintext_bound:
        raise PlaintextOverflowError(
            "these weights may carry a score out of the plaintext range: scale them down"
        )
    N = len(answer.positions_N)
    word = key.parameters.word
    if answer.head_n.shape != (key.parameters.n,) or answer.scores_N.shape != (N,):
        raise ShapeError(f"the answer has {answer.scores_N.shape} scores for {N} columns of its block")
    if answer.head_n.dtype != word or answer.scores_N.dtype != word:
        raise ShapeError(f"the answer is of {answer.scores_N.dtype} words, its block is of {word}")
    if (answer.positions_N >= header.count).any():
        raise ShapeError(f"the answer scores columns beyond the block's {header.count}")
    masks_1N = _masks(key, header, answer.head_n[None, :], answer.positions_N)
    return _round(answer.scores_N - masks_1N[0], key.parameters)


def _require_own(key: SecretKey, header: Header) -> None:
    if header.key_id != key.key_id or header.parameters != key.parameters:
        raise ForeignKeyError(
            f"the block was made under key {header.key_id.hex()[:16]}, this is key {key.key_id.hex()[:16]}"
        )


def _masks(key: SecretKey, header: Header, rows_Rn: Words, positions_N: NDArray[np.uint32]) -> Words:
    """Rows times the columns of S at these positions of the block, mod q."""
    word = key.parameters.word
    rows = torch.from_numpy(np.array(rows_Rn, word).view(f"<i{word.itemsize}"))
    slots_N = positions_N.astype(np.int64) + header.slot
    N, first = len(slots_N), int(slots_N[0]) if len(slots_N) else 0
    if np.array_equal(slots_N, np.arange(first, first + N)):  # as in most blocks: gathering would cost more
        S_nN = key.S_nl[:, first : first + N]
    else:
        S_nN = key.S_nl[:, torch.from_numpy(slots_N)]
    masks_RN: Words = gemm.product(gemm.prepare(rows, gemm.Method.FLOAT64), S_nN).numpy().view(word)
    return masks_RN


def _round(phase: Words, parameters: Parameters) -> NDArray[np.int64]:
    """round(phase / Delta) as a signed plaintext; halves go up."""
    half = parameters.word.type(1 << (parameters.delta_bits - 1))
    signed = (phase + half).view(f"<i{parameters.word.itemsize}")
    rounded: NDArray[np.int64] = signed.astype(np.int64) >> parameters.delta_bits
    return rounded
