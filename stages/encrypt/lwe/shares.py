"""The two-server private query (S1'): weights mod q as the sum of two shares, each uniform by itself.

Scoring is linear: the answers to both shares add up, word by word, to the answer to the weights. A server
that sees one share sees D words that are independent of the query, since one share is random and the
other is the weights minus it. Two servers that compare notes see everything. No key is imported here.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stages.encrypt.lwe.errors import ShapeError
from stages.encrypt.lwe.parameters import Parameters
from stages.encrypt.lwe.search import BlockScores, weight_words
from stages.encrypt.lwe.wire import Words


def split_weights(
    weights_D: NDArray[np.integer],
    parameters: Parameters,
    randomness: Callable[[int], bytes] = os.urandom,
) -> tuple[Words, Words]:
    """Two shares of D words that add up to the weights mod q."""
    words_D = weight_words(weights_D, parameters)
    share_D = np.frombuffer(randomness(words_D.nbytes), words_D.dtype)
    return share_D, words_D - share_D


def join(one: BlockScores, other: BlockScores) -> BlockScores:
    """The answer to the weights, from those to both shares."""
    if not np.array_equal(one.positions_N, other.positions_N) or one.head_n.shape != other.head_n.shape:
        raise ShapeError("the answers to the two shares are about different columns")
    return BlockScores(one.head_n + other.head_n, one.scores_N + other.scores_N, one.positions_N)
