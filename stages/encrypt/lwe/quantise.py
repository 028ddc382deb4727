"""From L2-normalised features to integers whose scores stay inside the plaintext range.

Records are scaled by s and weights by t. A score is at most (s + sqrt(D)/2)(t + sqrt(D)/2) by
Cauchy-Schwarz, rounding included, and must leave room for the noise, whose standard deviation in a
score is sigma_fresh ||w|| / Delta plaintext units. The error of a cosine is about
sqrt((1/s^2 + 1/t^2) / 12) from rounding both sides and sigma_fresh / (Delta s) from the noise.

Approximate sets (LWE32) take s = t, the largest that fit: only the product is bounded, and equal
scales minimise the error. Exact sets (LWE64) take t so that NOISE_MARGIN standard deviations of a
score's noise are half a unit: rounding leaves the exact integer. Then s is the largest with which
sums of SUM_BLOCKS blocks, and scores, cannot overflow; beyond t a larger s improves next to nothing.

Plain rounding leaves integer vectors of slightly different lengths, an error common to all scores of
a record. So each row is stretched by at most one per cent before it is rounded, to the length nearest
to s: that keeps an image ahead of its near duplicates.
"""

from __future__ import annotations

from math import ceil, floor, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.encrypt.lwe.errors import PlaintextOverflowError
from stages.encrypt.lwe.parameters import Parameters

NOISE_MARGIN: Final = 12.0  # standard deviations of a score's noise kept free: failure below 2^-100
SUM_BLOCKS: Final = 2**14  # blocks a default scale leaves room to add: 10^6 records even at 62 a block
_LONGEST: Final = 2.0  # longer rows are no normalised features; beyond it int32 might overflow
_STRETCH: Final = 0.01
_HALVINGS: Final = 10  # of the stretch: down to 2e-5, less than one rounding step


def rounding_slack(dimensions: int) -> int:
    """Rounding D numbers lengthens a vector by at most this: sqrt(D) / 2, rounded up."""
    return ceil(sqrt(dimensions) / 2)


def scale_for(parameters: Parameters, dimensions: int, *, terms: int | None = None) -> int:
    """The scale of records with this many features of which ``terms`` blocks can be added.

    By default SUM_BLOCKS, or as many as the noise of the parameter set allows.
    """
    terms = min(parameters.max_terms, SUM_BLOCKS) if terms is None else terms
    if not 0 < terms <= parameters.max_terms:
        raise PlaintextOverflowError(
            f"a sum of {terms} blocks does not decrypt under {parameters.name}: add from 1 to "
            f"{parameters.max_terms}"
        )
    most = parameters.plaintext_bound - 1
    if parameters.exact_scores:
        longest = most // _longest_weights(parameters)
    else:
        # The longest norm with norm^2 + noise norm <= bound - 1.
        noise = noise_in_score(parameters, 1, 1.0)
        longest = floor((sqrt(noise**2 + 4 * most) - noise) / 2)
    return min(longest, most // terms) - rounding_slack(dimensions)


def weight_scale_for(parameters: Parameters, dimensions: int) -> int:
    """The scale of a query's weights with this many features."""
    if parameters.exact_scores:
        return _longest_weights(parameters) - rounding_slack(dimensions)
    return scale_for(parameters, dimensions)


def noise_in_score(parameters: Parameters, terms: int, norm: float) -> float:
    """NOISE_MARGIN standard deviations of the noise in a score with weights of this norm, in units."""
    return NOISE_MARGIN * parameters.sigma_fresh * sqrt(terms) * norm / parameters.delta


def _longest_weights(parameters: Parameters) -> int:
    """The longest weights whose scores are exact: their noise stays within half a unit."""
    return floor(0.5 / noise_in_score(parameters, 1, 1.0))


def quantise_rows(
    feature_ND: NDArray[np.floating], scale: int
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Integers of length near scale times each row's, and which rows fit; the others are zero.

    A row fits when it is finite and its integers are no longer than scale + rounding_slack.
    """
    x_ND = np.asarray(feature_ND, np.float64)
    norm_N = np.sqrt(_squared(x_ND))
    sane_N = np.isfinite(norm_N) & (norm_N <= _LONGEST)
    x_ND = np.where(sane_N[:, None], x_ND, 0.0) * scale
    target_N = np.where(sane_N, norm_N, 0.0) * scale
    rounded_ND = _round_to_length(x_ND, target_N)
    longest = scale + rounding_slack(x_ND.shape[1])
    fits_N = sane_N & (_squared(rounded_ND) <= longest**2)
    rounded_ND[~fits_N] = 0
    return rounded_ND.astype(np.int32), fits_N


def _round_to_length(x_ND: NDArray[np.float64], target_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """rint(t x) for a stretch t per row; its length grows with t, so bisection finds the nearest."""
    low_N, high_N = np.full(len(x_ND), 1 - _STRETCH), np.full(len(x_ND), 1 + _STRETCH)
    rounded_ND = np.empty_like(x_ND)
    for _ in range(_HALVINGS):
        middle_N = (low_N + high_N) / 2
        np.rint(np.multiply(x_ND, middle_N[:, None], out=rounded_ND), out=rounded_ND)
        short_N = _squared(rounded_ND) < target_N**2
        low_N, high_N = np.where(short_N, middle_N, low_N), np.where(short_N, high_N, middle_N)
    below_ND, above_ND = np.rint(x_ND * low_N[:, None]), np.rint(x_ND * high_N[:, None])
    nearer_N = target_N**2 - _squared(below_ND) < _squared(above_ND) - target_N**2
    nearest_ND: NDArray[np.float64] = np.where(nearer_N[:, None], below_ND, above_ND)
    return nearest_ND


def _squared(rows_ND: NDArray[np.float64]) -> NDArray[np.float64]:
    squared_N: NDArray[np.float64] = np.einsum("nd,nd->n", rows_ND, rows_ND)
    return squared_N
