"""Similarity search on ciphertexts (S1): what a querier sends and what the untrusted server computes.

The server sees the query's weights and the ciphertexts, and holds no key: this module imports none.
For weights w it returns (w C1, w C2) mod q, n + N words for N scores, exactly: anybody can recompute
the answer from the same block. The key holder opens it with ``owner.open_scores``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.encrypt.lwe.errors import ShapeError, ZeroWeightsError
from stages.encrypt.lwe.parameters import LWE32, Parameters
from stages.encrypt.lwe.quantise import noise_in_score, quantise_rows, weight_scale_for
from stages.encrypt.lwe.wire import Header, Words, check_block

Weights = NDArray[np.int32] | NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BlockScores:
    """The server's answer for one block: (w C1, w C2) mod q."""

    head_n: Words
    scores_N: Words
    positions_N: NDArray[np.uint32]  # of the scored columns in their block


def quantise_query(feature_D: NDArray[np.floating], parameters: Parameters = LWE32) -> NDArray[np.int32]:
    """Score weights of a feature vector of any length but zero: its direction, at the weights' scale."""
    feature = np.asarray(feature_D, np.float64)
    norm = np.linalg.norm(feature)
    if feature.ndim != 1 or not np.isfinite(norm) or norm == 0:
        raise ZeroWeightsError("a query is one finite feature vector that is not zero")
    weights_1D, _ = quantise_rows((feature / norm)[None, :], weight_scale_for(parameters, feature.size))
    weights_D: NDArray[np.int32] = weights_1D[0]
    return weights_D


def weight_words(weights_D: NDArray[np.integer], parameters: Parameters) -> Words:
    """The weights mod q."""
    return weights_D.astype(np.int64).view(np.uint64).astype(parameters.word)


def score_block(
    header: Header,
    head_Dn: Words,
    columns_ND: Words,
    weights_D: Weights,
    positions_N: NDArray[np.uint32] | None = None,
) -> BlockScores:
    """The encrypted scores of a block's columns: 2 D (n + N) wrapping operations, no copies.

    ``positions_N`` gives the columns' positions in the block; None means all.
    """
    check_weights(header, weights_D)
    words_D = weight_words(weights_D, header.parameters)
    return score_words(header, head_Dn, columns_ND, words_D, positions_N)


def score_words(
    header: Header,
    head_Dn: Words,
    columns_ND: Words,
    words_D: Words,
    positions_N: NDArray[np.uint32] | None = None,
) -> BlockScores:
    """``score_block`` for weights that are any words mod q, such as a share of a private query."""
    positions_N = check_block(header, head_Dn, columns_ND, positions_N)
    if words_D.shape != (header.dimensions,) or words_D.dtype != header.parameters.word:
        raise ShapeError(
            f"the share is {words_D.dtype} {words_D.shape}, the block has {header.dimensions} features of "
            f"{header.parameters.q_bits} bits"
        )
    # einsum, not @: NumPy's integer matmul is an unvectorised triple loop.
    head_n = np.einsum("d,dn->n", words_D, head_Dn)
    return BlockScores(head_n, np.einsum("nd,d->n", columns_ND, words_D), positions_N)


def check_weights(header: Header, weights_D: Weights) -> None:
    """Refuse weights that are not one int32 (or signed word mod q) per feature."""
    kinds = (np.dtype(np.int32), np.dtype(f"i{header.parameters.word.itemsize}"))
    if weights_D.shape != (header.dimensions,) or weights_D.dtype not in kinds:
        raise ShapeError(
            f"the weights are {weights_D.dtype} {weights_D.shape}, the block has {header.dimensions} features"
        )


def score_bound(header: Header, weights_D: Weights) -> float:
    """No score of this block leaves [-bound, bound], noise included: Cauchy-Schwarz and NOISE_MARGIN."""
    norm = float(np.linalg.norm(weights_D))
    return header.norm_bound * norm + noise_in_score(header.parameters, header.terms, norm)


def score_is_exact(header: Header, weights_D: Weights) -> bool:
    """Whether rounding a score of this block removes its noise: NOISE_MARGIN deviations are half a unit."""
    norm = float(np.linalg.norm(weights_D))
    return noise_in_score(header.parameters, header.terms, norm) <= 0.5  # noqa: PLR2004 - what rounds away
