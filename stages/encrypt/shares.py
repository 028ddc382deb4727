"""The two-server private query (S1'): weights mod q as the sum of two shares, each uniform by itself.

Scoring is linear: the answers to both shares add up, word by word, to the answer to the weights. A server
that sees one share sees D words that are independent of the query, since one share is random and the
other is the weights minus it. Two servers that compare notes see everything. No key is imported here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.encrypt.errors import ShapeError
from stages.encrypt.parameters import Parameters
from stages.encrypt.search import Answer
from stages.encrypt.wire import Header, check_block

Words = NDArray[Any]  # of q_bits bits, unsigned


def word_type(parameters: Parameters) -> np.dtype[Any]:
    """The words of this parameter set: arithmetic on them wraps, which is the reduction mod q."""
    return np.dtype(f"<u{parameters.q_bits // 8}")


def weight_words(weights_D: NDArray[np.integer], parameters: Parameters) -> Words:
    """The weights mod q."""
    return weights_D.astype(np.int64).view(np.uint64).astype(word_type(parameters))


def split_weights(
    weights_D: NDArray[np.integer],
    parameters: Parameters,
    randomness: Callable[[int], bytes] = os.urandom,
) -> tuple[Words, Words]:
    """Two shares of D words that add up to the weights mod q."""
    words_D = weight_words(weights_D, parameters)
    share_D = np.frombuffer(randomness(words_D.nbytes), words_D.dtype)
    return share_D, words_D - share_D


def score_words(
    header: Header,
    head_Dn: Words,
    columns_ND: Words,
    words_D: Words,
    positions_N: NDArray[np.uint32] | None = None,
) -> Answer:
    """``score_block`` for weights that are any words: (w C1, w C2) mod q."""
    positions_N = check_block(header, head_Dn, columns_ND, positions_N)
    if words_D.shape != (header.dimensions,) or words_D.dtype != word_type(header.parameters):
        raise ShapeError(
            f"the share is {words_D.dtype} {words_D.shape}, the block has {header.dimensions} features of "
            f"{header.parameters.q_bits} bits"
        )
    head_n = np.einsum("d,dn->n", words_D, head_Dn)
    return Answer(head_n, np.einsum("nd,d->n", columns_ND, words_D), positions_N)


def join(one: Answer, other: Answer) -> Answer:
    """The answer to the weights, from those to both shares."""
    if not np.array_equal(one.positions_N, other.positions_N) or one.head_n.shape != other.head_n.shape:
        raise ShapeError("the answers to the two shares are about different columns")
    return Answer(one.head_n + other.head_n, one.scores_N + other.scores_N, one.positions_N)
