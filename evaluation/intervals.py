"""The confidence interval of a mean over patients, and the comparison of two models on the same patients.

Percentile bootstrap over patients (Efron & Tibshirani 1993), seeded; differences are paired by patient and
tested by Wilcoxon's signed ranks (1945), both from SciPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESAMPLES = 9999
SEED = 0

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Gain:
    """The second model's figures minus the first's, over the patients that both have."""

    patients: int
    mean: float
    interval_95: Interval | None  # of the mean; None for one patient
    better: int  # patients with a higher figure in the second
    p_value: float  # Wilcoxon, two-sided; 1 where nothing differs


def mean_interval(values: Sequence[float]) -> Interval | None:
    """The 95 % interval of the mean; None of fewer than two values."""
    if len(values) < 2:  # noqa: PLR2004  # one patient has no spread
        return None
    found = stats.bootstrap(
        (np.asarray(values, np.float64),), np.mean, n_resamples=RESAMPLES, method="percentile", rng=SEED
    ).confidence_interval
    return float(found.low), float(found.high)


def gain(first: Mapping[str, float], second: Mapping[str, float]) -> Gain:
    """By patient name. Raises ValueError where the two share no patient."""
    names = sorted(first.keys() & second.keys())
    if not names:
        raise ValueError("the two have no patient in common")
    differences = np.array([second[name] - first[name] for name in names])
    p_value = float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0
    return Gain(
        len(names),
        float(differences.mean()),
        mean_interval(differences.tolist()),
        int((differences > 0).sum()),
        p_value,
    )
