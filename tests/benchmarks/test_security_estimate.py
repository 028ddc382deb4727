from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import security_estimate
from benchmarks.security_estimate import Instance, compare, instances, primal_core_svp
from stages.encrypt.lwe.parameters import LEAST_BITS, TABLE

ROOT = Path(__file__).resolve().parents[2]


def test_shipped_figures_are_not_above_what_one_attack_alone_costs() -> None:
    """The minimum over attacks is at most the cost of primal uSVP, computed here, and within 4 bits of it."""
    for one in instances():
        for model, bits in primal_core_svp(one).items():
            if model in one.shipped:
                assert bits - 4 < one.shipped[model] <= bits


def test_the_refused_instance_is_below_the_bar() -> None:
    """What SimplePIR uses (n = 1024, q = 2^32, sigma = 6.4) is refused for a reason that is computed here."""
    refused = instances()[-1]
    assert (refused.n, refused.q_bits, refused.sigma) == (1024, 32, 6.4)
    assert max(primal_core_svp(refused).values()) < LEAST_BITS
    assert refused.shipped["MATZOV, classical"] < LEAST_BITS
    assert (refused.n, refused.q_bits) not in {(one.n, one.q_bits) for one in TABLE.values()}


def test_the_primal_estimate_is_the_published_one() -> None:
    """Kyber512 comes to block size 406 and 118.6 bits, as the estimator's documentation has it."""
    kyber = Instance("Kyber512", 512, 0, 1.2247, 1.2247, 512, {})
    bits = primal_core_svp(Instance(**{**vars(kyber), "q_bits": 11.7009}))  # log2(3329)
    assert bits["core-SVP, classical"] == pytest.approx(118.6, abs=0.6)


@pytest.mark.parametrize(("shift", "count"), [(0.0, 0), (0.9, 0), (-1.1, 3), (-20.0, 4)])
def test_figures_that_differ_are_named(shift: float, count: int) -> None:
    """More than a bit from what is shipped, or below the bar, is a sentence each."""
    one = instances()[0]
    found = {model: {"usvp": bits + shift, "bdd": bits + shift + 5} for model, bits in one.shipped.items()}
    assert len(compare(one, found)) == count


def test_without_the_estimator_it_says_so() -> None:
    """Exit code 2, one sentence on stderr, the cross-check on stdout."""
    if security_estimate.estimator_commit() is not None:
        pytest.skip("the estimator is installed here")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.security_estimate", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "not installed" in done.stderr
    document = json.loads(done.stdout)
    assert document["estimator_commit"] is None
    assert set(document["sets"]) == {one.name for one in TABLE.values()} | {"refused"}
