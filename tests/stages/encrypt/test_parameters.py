from __future__ import annotations

from dataclasses import replace
from math import sqrt

import pytest

from stages.encrypt.parameters import LWE32, TABLE, ParameterError, by_number, require_known


def test_the_default_set_is_what_the_design_states() -> None:
    """LWE32 has the published dimensions, noise and estimates."""
    assert (LWE32.n, LWE32.slots, LWE32.q_bits, LWE32.delta_bits, LWE32.noise_bits) == (1536, 1024, 32, 14, 4)
    assert {one.model: one.bits for one in LWE32.estimates} == {
        "MATZOV, classical": 167.5,
        "core-SVP, classical": 142.2,
        "core-SVP, quantum": 130.1,
    }


def test_noise_follows_from_the_samplers() -> None:
    """Sigma is TU(4)'s, and a fresh word's noise is sigma sqrt(n + 1) = 362.5."""
    exact = sum((u // 2 + u % 2 - 16) ** 2 for u in range(64)) / 64
    assert pytest.approx(sqrt(exact)) == LWE32.sigma
    assert pytest.approx(362.5, abs=0.05) == LWE32.sigma_fresh


def test_every_entry_has_128_bits_under_every_cost_model() -> None:
    """No set in the table is estimated below 128 bits, quantum core-SVP included."""
    assert all(estimate.bits >= 128 for one in TABLE.values() for estimate in one.estimates)


@pytest.mark.parametrize("number", [0, 2, 65535])
def test_an_unknown_number_is_refused(number: int) -> None:
    """A wire id outside the table is an error that lists what is known."""
    with pytest.raises(ParameterError, match=r"LWE32 \(1\)"):
        by_number(number)


@pytest.mark.parametrize("change", [{"n": 1024}, {"noise_bits": 3}, {"number": 9}, {"delta_bits": 13}])
def test_a_changed_set_is_refused(change: dict[str, int]) -> None:
    """Only exactly an entry of the table is known."""
    require_known(LWE32)
    with pytest.raises(ParameterError):
        require_known(replace(LWE32, **change))
