from __future__ import annotations

import numpy as np
import pytest

from evaluation.intervals import gain, mean_interval


def test_interval_of_many_values_is_the_textbook_one() -> None:
    """For a large sample it is the mean and 1.96 standard errors either way."""
    values = np.random.default_rng(0).normal(0.9, 0.05, 400)
    low, high = mean_interval(values.tolist()) or (0.0, 0.0)
    error = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - error, abs=0.0005)
    assert high == pytest.approx(values.mean() + error, abs=0.0005)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Of thirty patients, drawn again and again, about 95 % of the intervals hold the mean."""
    rng = np.random.default_rng(1)
    found = [mean_interval(rng.normal(0.9, 0.05, 30).tolist()) or (0.0, 0.0) for _ in range(60)]
    assert sum(low <= 0.9 <= high for low, high in found) >= 51


def test_interval_is_the_same_every_time() -> None:
    """It is seeded."""
    assert mean_interval([0.8, 0.9, 0.7]) == mean_interval([0.8, 0.9, 0.7])


@pytest.mark.parametrize("values", [[], [0.9]])
def test_too_few_values_have_no_interval(values: list[float]) -> None:
    """One patient has no spread."""
    assert mean_interval(values) is None


def test_equal_values_have_an_interval_of_no_width() -> None:
    """Nothing is left to doubt."""
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


def test_gain_is_paired_by_patient() -> None:
    """A constant gain on spread-out patients is certain, though the two means overlap."""
    first = {str(i): 0.6 + 0.03 * i for i in range(10)}
    second = {name: value + 0.01 for name, value in first.items()} | {"other": 0.0}
    found = gain(first, second)
    assert (found.patients, found.better) == (10, 10)
    assert found.mean == pytest.approx(0.01)
    assert found.interval_95 == pytest.approx((0.01, 0.01))
    assert found.p_value == pytest.approx(2 / 2**10)  # all ten signs alike


def test_no_difference_is_no_evidence() -> None:
    """A model against itself."""
    found = gain({"a": 0.5, "b": 0.6}, {"a": 0.5, "b": 0.6})
    assert (found.mean, found.better, found.p_value) == (0, 0, 1)


def test_no_patient_in_common_is_an_error() -> None:
    """There is nothing to compare."""
    with pytest.raises(ValueError, match="no patient in common"):
        gain({"a": 0.5}, {"b": 0.5})
