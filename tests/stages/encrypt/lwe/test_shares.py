from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from stages.encrypt.keys.folder import OwnerKeys
from stages.encrypt.keys.owner import open_scores
from stages.encrypt.lwe.errors import ShapeError
from stages.encrypt.lwe.parameters import LWE32, Parameters
from stages.encrypt.lwe.scheme import Encryptor
from stages.encrypt.lwe.search import quantise_query, score_block, score_words, weight_words
from stages.encrypt.lwe.shares import join, split_weights
from stages.encrypt.lwe.wire import Header
from tests.stages.encrypt.lwe.test_search import encrypted, unit_rows


@settings(max_examples=40, deadline=None)
@given(N=st.integers(0, 8), D=st.integers(1, 30), seed=st.integers(0, 2**32 - 1))
def test_answers_to_both_shares_add_up_to_the_answer(toy: Parameters, N: int, D: int, seed: int) -> None:
    """Bit for bit, for any words of the block and any weights."""
    rng = np.random.default_rng(seed)
    head_Dn = rng.integers(0, 2**32, (D, toy.n), np.uint32)
    columns_ND = rng.integers(0, 2**32, (N, D), np.uint32)
    weights_D = rng.integers(-(2**31), 2**31, D, np.int32)
    header = Header(toy, bytes(32), D, 1, 0, N)
    expected = score_block(header, head_Dn, columns_ND, weights_D)
    shares = split_weights(weights_D, toy)
    joined = join(*(score_words(header, head_Dn, columns_ND, share_D) for share_D in shares))
    whole = score_words(header, head_Dn, columns_ND, weight_words(weights_D, toy))
    for answer in (joined, whole):
        assert np.array_equal(answer.head_n, expected.head_n)
        assert np.array_equal(answer.scores_N, expected.scores_N)


@pytest.mark.parametrize("which", [0, 1])
def test_a_share_alone_is_uniform(which: int) -> None:
    """Chi-squared over the 256 values of each byte, for the same query split 400 times."""
    weights_D = quantise_query(unit_rows(1, 256, 1)[0])
    words = np.stack([split_weights(weights_D, LWE32)[which] for _ in range(400)])
    for byte in range(4):
        counts = np.bincount(words.view(np.uint8).reshape(-1, 4)[:, byte], minlength=256)
        assert chisquare(counts).pvalue > 1e-6
    # Nor does a word depend on its weight: every feature's mean is that of uniform words.
    sigma = 2**32 / np.sqrt(12 * 400)
    assert np.abs(words.mean(axis=0) - 2**31).max() < 6 * sigma


def test_shares_are_fresh_and_from_the_operating_system() -> None:
    """The random share is os.urandom's bytes, asked for anew for every query."""
    weights_D = quantise_query(unit_rows(1, 16, 1)[0])
    assert not np.array_equal(split_weights(weights_D, LWE32)[0], split_weights(weights_D, LWE32)[0])
    asked: list[int] = []
    share_D, _ = split_weights(weights_D, LWE32, lambda count: asked.append(count) or os.urandom(count))
    assert asked == [share_D.nbytes]
    np.random.seed(1)  # noqa: NPY002 - the global generator must have no part in it
    one = split_weights(weights_D, LWE32)[0]
    np.random.seed(1)  # noqa: NPY002
    assert not np.array_equal(one, split_weights(weights_D, LWE32)[0])


def test_joined_answers_open_to_the_direct_cosines(encryptor: Encryptor, owner: OwnerKeys) -> None:
    """What the owner reads does not depend on the way the question took."""
    x_ND = unit_rows(9, 16, 2)
    _, block = encrypted(encryptor, x_ND, slot=5)
    weights_D = quantise_query(x_ND[3])
    direct = score_block(block.header, block.head_Dn, block.columns_ND, weights_D)
    shares = split_weights(weights_D, LWE32)
    joined = join(*(score_words(block.header, block.head_Dn, block.columns_ND, one) for one in shares))
    assert np.array_equal(*(open_scores(owner.lwe, block.header, one, weights_D) for one in (direct, joined)))


def test_misshapen_shares_and_answers_are_refused(toy: Parameters) -> None:
    """One word per feature, of the block's own size; answers about the same columns."""
    header = Header(toy, bytes(32), 3, 1, 0, 2)
    head_Dn, columns_ND = np.zeros((3, toy.n), np.uint32), np.zeros((2, 3), np.uint32)
    for bad in (np.zeros(2, np.uint32), np.zeros(3, np.uint64), np.zeros(3, np.int32)):
        with pytest.raises(ShapeError):
            score_words(header, head_Dn, columns_ND, bad)
    one = score_words(header, head_Dn, columns_ND, np.zeros(3, np.uint32))
    other = score_words(header, head_Dn, columns_ND[:1], np.zeros(3, np.uint32), np.array([1], np.uint32))
    with pytest.raises(ShapeError):
        join(one, other)
