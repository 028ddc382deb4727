from __future__ import annotations

from dataclasses import replace
from math import sqrt

import pytest

from stages.encrypt.lwe.parameters import (
    LEAST_BITS,
    LWE32,
    LWE64,
    TABLE,
    ParameterError,
    Parameters,
    by_number,
    require_known,
)


def test_the_default_set_is_what_the_design_states() -> None:
    """LWE32 has the published dimensions, noise and estimates."""
    assert (LWE32.n, LWE32.slots, LWE32.q_bits, LWE32.delta_bits, LWE32.noise_bits) == (1536, 1024, 32, 14, 4)
    assert {one.model: one.bits for one in LWE32.estimates} == {
        "MATZOV, classical": 167.5,
        "core-SVP, classical": 142.2,
        "core-SVP, quantum": 130.1,
    }


def test_the_exact_set_is_what_the_design_states() -> None:
    """LWE64 has the published dimensions, noise and estimates."""
    assert (LWE64.n, LWE64.slots, LWE64.q_bits, LWE64.delta_bits, LWE64.noise_bits) == (
        2560,
        1024,
        64,
        36,
        16,
    )
    assert {one.model: one.bits for one in LWE64.estimates} == {
        "MATZOV, classical": 170.9,
        "core-SVP, classical": 144.0,
        "core-SVP, quantum": 131.1,
    }


@pytest.mark.parametrize(
    ("parameters", "sigma_fresh"), [(LWE32, 362.5), (LWE64, 1.9148e6)], ids=["LWE32", "LWE64"]
)
def test_noise_follows_from_the_samplers(parameters: Parameters, sigma_fresh: float) -> None:
    """Sigma is the sampler's over all its inputs, and a fresh word's noise is sigma sqrt(n + 1)."""
    b = parameters.noise_bits
    exact = sum((u // 2 + u % 2 - 2**b) ** 2 for u in range(2 ** (b + 2))) / 2 ** (b + 2)
    assert pytest.approx(sqrt(exact)) == parameters.sigma
    assert pytest.approx(sigma_fresh, rel=1e-4) == parameters.sigma_fresh


def test_every_entry_has_128_bits_under_every_cost_model() -> None:
    """No set is estimated below 128 bits, quantum core-SVP included, and all estimates name their source."""
    assert LEAST_BITS == 128
    for one in TABLE.values():
        assert {estimate.model for estimate in one.estimates} == {
            "MATZOV, classical",
            "core-SVP, classical",
            "core-SVP, quantum",
        }
        assert all(estimate.bits >= LEAST_BITS for estimate in one.estimates)
        assert all(estimate.tool and len(estimate.attacks) == 4 for estimate in one.estimates)


def test_words_are_as_wide_as_the_modulus() -> None:
    """Little-endian unsigned words, mod q without a reduction."""
    assert {one.name: one.word.str for one in TABLE.values()} == {"LWE32": "<u4", "LWE64": "<u8"}


@pytest.mark.parametrize("number", [3, 98, 65535])
def test_an_unknown_number_is_refused(number: int) -> None:
    """A wire id outside the table is an error that lists what is known."""
    with pytest.raises(ParameterError, match=r"LWE32 \(1\), LWE64 \(2\)"):
        by_number(number)


@pytest.mark.parametrize(
    "change",
    [{"n": 1024}, {"noise_bits": 3}, {"number": 9}, {"delta_bits": 13}, {"q_bits": 48}, {"estimates": ()}],
)
@pytest.mark.parametrize("known", list(TABLE.values()), ids=lambda one: one.name)
def test_a_changed_set_is_refused(known: Parameters, change: dict[str, int]) -> None:
    """Only exactly an entry of the table is known."""
    require_known(known)
    with pytest.raises(ParameterError, match="not in the table"):
        require_known(replace(known, **change))
