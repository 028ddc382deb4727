"""Many queries at once: the answers of each alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.encrypt.keys import owner as owner_side
from stages.encrypt.keys.folder import OwnerKeys
from stages.encrypt.lwe import reference, search
from stages.encrypt.lwe.errors import ShapeError
from stages.encrypt.lwe.parameters import LWE32, Parameters
from stages.encrypt.lwe.quantise import quantise_rows, scale_for
from stages.encrypt.lwe.scheme import Encryptor
from stages.encrypt.lwe.search import quantise_query, score_block, score_queries
from stages.encrypt.lwe.wire import Header

BOTH = pytest.mark.parametrize("toy", ["toy", "toy64"], indirect=True)


@BOTH
@settings(max_examples=40, deadline=None)
@given(
    N=st.integers(0, 8),
    D=st.integers(1, 30),
    Q=st.integers(0, 9),
    size=st.sampled_from([1, 2**10, 2**31 - 1]),
    seed=st.integers(0, 2**32 - 1),
)
def test_many_queries_are_answered_as_each_alone(
    toy: Parameters, N: int, D: int, Q: int, size: int, seed: int
) -> None:
    """Whatever the number of queries and the size of weights, each answer is the reference's."""
    rng = np.random.default_rng(seed)
    head_Dn = rng.integers(0, 2**toy.q_bits, (D, toy.n), toy.word)
    columns_ND = rng.integers(0, 2**toy.q_bits, (N, D), toy.word)
    weights_QD = rng.integers(-size, size, (Q, D), np.int32, endpoint=True)
    answers = score_queries(Header(toy, bytes(32), D, 1, 0, N), head_Dn, columns_ND, weights_QD)
    assert len(answers) == Q
    for answer, weights_D in zip(answers, weights_QD, strict=True):
        head, scores = reference.score(
            toy, head_Dn.astype(object), columns_ND.T.astype(object), weights_D.astype(object)
        )
        assert answer.head_n.dtype == answer.scores_N.dtype == toy.word
        assert (answer.head_n == head).all()
        assert (answer.scores_N == scores).all()


@settings(max_examples=40, deadline=None)
@given(
    D=st.integers(1, 30),
    M=st.integers(0, 20),
    word=st.sampled_from([np.uint32, np.uint64]),
    chunk=st.sampled_from([1, 64, 2**18]),
    seed=st.integers(0, 2**32 - 1),
)
def test_products_of_many_queries_are_exact_for_both_word_sizes(
    D: int, M: int, word: type[np.unsignedinteger], chunk: int, seed: int
) -> None:
    """With the largest weights that float64 carries, words of 32 and 64 bits, cut anywhere, none is off."""
    rng = np.random.default_rng(seed)
    words_DM = rng.integers(0, np.iinfo(word).max, (D, M), word, endpoint=True)
    words_DM[:, : M // 2] = np.iinfo(word).max
    most = (2**21 - 1) // D
    weights_QD = rng.choice(np.array([-most, most, 1], np.int32), (5, D))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_CHUNK_WORDS", chunk)
        products_QM = search._products(weights_QD, words_DM)
    expected = (weights_QD.astype(object) @ words_DM.astype(object)) % (1 << 8 * words_DM.itemsize)
    assert products_QM.dtype == word
    assert (products_QM == expected).all()


def test_many_queries_open_to_what_each_alone_opens_to(encryptor: Encryptor, owner: OwnerKeys) -> None:
    """At real size, with real weights, the fast path gives the same words, and refuses misfits alike."""
    x_ND = np.random.default_rng(10).normal(size=(300, 256))
    x_ND /= np.linalg.norm(x_ND, axis=1, keepdims=True)
    scale = scale_for(LWE32, 256)
    block = encryptor.encrypt(quantise_rows(x_ND, scale)[0], slot=5, scale=scale)
    weights_QD = np.stack([quantise_query(x_D) for x_D in x_ND[:16]])
    left = np.arange(1, 300, 2, dtype=np.uint32)
    columns_ND = block.columns_ND[left]
    answers = score_queries(block.header, block.head_Dn, columns_ND, weights_QD, left)
    for weights_D, answer in zip(weights_QD, answers, strict=True):
        alone = score_block(block.header, block.head_Dn, columns_ND, weights_D, left)
        assert np.array_equal(answer.head_n, alone.head_n)
        assert np.array_equal(answer.scores_N, alone.scores_N)
    cosine_N = owner_side.open_scores(owner.lwe, block.header, answers[3], weights_QD[3])
    assert left[cosine_N.argmax()] == 3
    for bad_QD in (weights_QD[:, 1:], weights_QD.astype(np.float64)):
        with pytest.raises(ShapeError):
            score_queries(block.header, block.head_Dn, columns_ND, bad_QD, left)
