from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.encrypt.lwe.errors import PlaintextOverflowError
from stages.encrypt.lwe.parameters import LWE32, LWE64
from stages.encrypt.lwe.quantise import (
    NOISE_MARGIN,
    SUM_BLOCKS,
    quantise_rows,
    rounding_slack,
    scale_for,
    weight_scale_for,
)


@pytest.mark.parametrize("D", [1, 2, 64, 128, 256, 512, 1000, 4096])
def test_the_scale_is_the_largest_that_cannot_overflow(D: int) -> None:
    """The longest record times the longest weights, noise included, fits; one more would not."""
    noise = NOISE_MARGIN * LWE32.sigma_fresh / LWE32.delta
    longest = scale_for(LWE32, D) + rounding_slack(D)
    assert longest**2 + noise * longest < LWE32.plaintext_bound <= (longest + 1) ** 2 + noise * (longest + 1)


@pytest.mark.parametrize("D", [1, 2, 64, 256, 1000, 4096])
def test_exact_weights_are_the_longest_whose_noise_rounds_away(D: int) -> None:
    """LWE64: twelve deviations of noise are at most half a unit; with weights one longer they are more."""
    longest = weight_scale_for(LWE64, D) + rounding_slack(D)
    for norm, exact in ((longest, True), (longest + 1, False)):
        assert (LWE64.sigma_fresh * norm / LWE64.delta <= 1 / (2 * NOISE_MARGIN)) is exact


@pytest.mark.parametrize("D", [1, 2, 64, 256, 1000, 4096])
@pytest.mark.parametrize("terms", [1, 100, SUM_BLOCKS, 10**6])
def test_an_exact_scale_is_the_largest_whose_scores_and_sums_fit(D: int, terms: int) -> None:
    """LWE64: neither the longest score nor a sum of that many blocks overflows; at one more, one does."""
    longest = scale_for(LWE64, D, terms=terms) + rounding_slack(D)
    weights = weight_scale_for(LWE64, D) + rounding_slack(D)
    for norm, fits in ((longest, True), (longest + 1, False)):
        assert (max(norm * weights + 0.5, norm * terms) < LWE64.plaintext_bound) is fits


def test_the_default_scales() -> None:
    """At D = 256, as docs/lwe.md says."""
    assert scale_for(LWE32, 256) == weight_scale_for(LWE32, 256) == 353
    assert (scale_for(LWE64, 256), weight_scale_for(LWE64, 256)) == (8183, 1487)
    assert scale_for(LWE64, 256, terms=10**6) == 126


def test_default_scales_leave_room_for_a_million_records() -> None:
    """SUM_BLOCKS blocks hold 10^6 records even when each has only 62."""
    assert SUM_BLOCKS * 62 >= 10**6


@pytest.mark.parametrize("terms", [0, -1, 5, 10**6])
def test_sums_that_no_scale_allows_are_refused(terms: int) -> None:
    """More blocks than the noise of the set allows, or none, have no scale."""
    with pytest.raises(PlaintextOverflowError, match="add from 1 to 4"):
        scale_for(LWE32, 256, terms=terms)


@settings(max_examples=100, deadline=None)
@given(D=st.integers(1, 300), length=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_rows_up_to_length_one_fit(D: int, length: float, seed: int) -> None:
    """Every finite row of length at most one is kept, close to its scaled self."""
    x_D = np.random.default_rng(seed).normal(size=D)
    x_D *= length / np.linalg.norm(x_D)
    scale = scale_for(LWE32, D)
    X_1D, fits_1 = quantise_rows(x_D[None, :].astype(np.float32), scale)
    assert fits_1.all()
    assert X_1D.dtype == np.int32
    assert np.abs(X_1D[0] - scale * x_D).max() <= 0.5 + 0.0101 * scale * np.abs(x_D).max() + 1e-3


def test_rows_that_do_not_fit_are_named_and_zero() -> None:
    """NaN, infinity, huge and too long rows are marked, and do not disturb the others."""
    x_ND = np.zeros((6, 4), np.float32)
    x_ND[:, 0] = [1, np.nan, np.inf, 1e38, 1.2, -1]
    X_ND, fits_N = quantise_rows(x_ND, scale_for(LWE32, 4))
    assert fits_N.tolist() == [True, False, False, False, False, True]
    assert (X_ND[~fits_N] == 0).all()
    assert X_ND[0, 0] == -X_ND[5, 0] == scale_for(LWE32, 4)


def test_lengths_are_equalised() -> None:
    """Rounded rows vary in length by less than a fifth of what plain rounding gives."""
    x_ND = np.random.default_rng(0).normal(size=(500, 256))
    x_ND /= np.linalg.norm(x_ND, axis=1, keepdims=True)
    X_ND, _ = quantise_rows(x_ND, 353)
    plain = np.linalg.norm(np.rint(353 * x_ND), axis=1).std()
    assert np.linalg.norm(X_ND, axis=1).std() < plain / 5
    assert np.linalg.norm(X_ND, axis=1).mean() == pytest.approx(353, abs=0.05)


def test_no_rows() -> None:
    """An empty batch stays empty."""
    X_ND, fits_N = quantise_rows(np.zeros((0, 256), np.float32), 353)
    assert X_ND.shape == (0, 256)
    assert fits_N.shape == (0,)
