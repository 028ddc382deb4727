"""The security table once more: malb/lattice-estimator asked again, where it is installed.

    python -m benchmarks.security_estimate [--json]

For every parameter set of ``stages/encrypt/lwe/parameters.py`` and for n = 1024, q = 2^32, sigma = 6.4 (as in
SimplePIR; it must come out below the bar): the cheapest of the attacks under each cost model, beside the
figure that is shipped. The estimator is a Python module, ``estimator``, for Sage: clone
github.com/malb/lattice-estimator and run this with ``PYTHONPATH=.:lattice-estimator sage -python``. Where
there is none, only the cross-check is printed, and the exit code is 2.

The cross-check needs nothing: primal uSVP by the 2016 estimate (Alkim et al.) in the core-SVP model. It is
one attack of those that the table minimises over, so the table's figures must not be above it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from math import e, log, log2, pi, sqrt
from pathlib import Path
from typing import Any

from stages.encrypt.lwe.parameters import LEAST_BITS, TABLE, Estimate

CORE_SVP = {"core-SVP, classical": 0.292, "core-SVP, quantum": 0.265}  # bits per dimension of the sieve
TERNARY = sqrt(1 / 2)  # standard deviation of CBD(1)
TOLERANCE_BITS = 1.0  # between a shipped figure and the installed estimator's
BELOW_THE_BAR_BITS = 121.5  # MATZOV, of the instance that is refused


@dataclass(frozen=True)
class Instance:
    """An LWE instance as an attacker sees it; ``samples`` share one secret."""

    name: str
    n: int
    q_bits: int
    sigma: float
    secret: float | None  # standard deviation of a small secret; None: uniform, so as wide as the noise
    samples: int
    shipped: dict[str, float]


def instances() -> list[Instance]:
    """The table's sets, one row of R under A | B, and the one that is refused."""
    known = [
        Instance(
            one.name,
            one.n,
            one.q_bits,
            one.sigma,
            TERNARY,
            one.n + one.slots,
            {estimate.model: estimate.bits for estimate in one.estimates},
        )
        for one in TABLE.values()
    ]
    refused = Instance("refused", 1024, 32, 6.4, None, 2048, {"MATZOV, classical": BELOW_THE_BAR_BITS})
    return [*known, refused]


def primal_core_svp(instance: Instance) -> dict[str, float]:
    """Bits by model: the smallest block size b with sqrt(b) sigma <= delta^(2b - d - 1) vol^(1/d)."""
    secret = instance.secret or instance.sigma
    for b in range(60, 4000):
        log_delta = log((pi * b) ** (1 / b) * b / (2 * pi * e)) / (2 * (b - 1))
        for m in range(instance.n // 4, instance.samples + 1, 4):
            d = m + instance.n + 1
            volume = m * instance.q_bits * log(2) + instance.n * log(instance.sigma / secret)
            if log(sqrt(b) * instance.sigma) <= (2 * b - d - 1) * log_delta + volume / d:
                return {model: slope * b for model, slope in CORE_SVP.items()}
    raise ValueError(f"{instance.name} is beyond every block size")


def ask_estimator(instance: Instance, attacks: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Bits by model and attack, from the installed estimator."""
    from estimator import LWE, ND, RC  # noqa: PLC0415 - only where it is installed
    from estimator.reduction import ADPS16  # noqa: PLC0415

    noise = ND.DiscreteGaussian(instance.sigma)
    params = LWE.Parameters(
        n=instance.n,
        q=2**instance.q_bits,
        Xs=noise if instance.secret is None else ND.CenteredBinomial(1),
        Xe=noise,
        m=instance.samples,
        tag=instance.name,
    ).normalize()
    functions: dict[str, Any] = {
        "usvp": LWE.primal_usvp,
        "dual_hybrid": LWE.dual_hybrid,
        "bdd": LWE.primal_bdd,
        "bdd_hybrid": lambda p, **model: LWE.primal_hybrid(p, mitm=False, babai=False, **model),
    }
    models = {
        "MATZOV, classical": RC.MATZOV,
        "core-SVP, classical": ADPS16(mode="classical"),
        "core-SVP, quantum": ADPS16(mode="quantum"),
    }
    return {
        name: {
            attack: log2(float(functions[attack](params, red_cost_model=model)["rop"])) for attack in attacks
        }
        for name, model in models.items()
    }


def estimator_commit() -> str | None:
    """The commit of the installed estimator, None where there is none; "unknown" outside a git checkout."""
    found = importlib.util.find_spec("estimator")
    if found is None or found.origin is None or importlib.util.find_spec("sage") is None:
        return None
    folder = Path(found.origin).parent
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def compare(instance: Instance, found: dict[str, dict[str, float]]) -> list[str]:
    """One sentence for each figure that is not what is shipped, or on the wrong side of the bar."""
    lowest = {model: min(attacks.values()) for model, attacks in found.items()}
    wrong = [
        f"{instance.name}, {model}: {lowest[model]:.1f} bits, shipped {bits:.1f}"
        for model, bits in instance.shipped.items()
        if abs(lowest[model] - bits) > TOLERANCE_BITS
    ]
    if (min(lowest.values()) >= LEAST_BITS) == (instance.name == "refused"):
        wrong.append(f"{instance.name}: {min(lowest.values()):.1f} bits, the bar is at {LEAST_BITS}")
    return wrong


def main() -> int:
    """0: reproduced; 1: something differs; 2: no estimator here."""
    parser = argparse.ArgumentParser(
        description="The shipped security estimates, beside what lattice-estimator says here.",
        epilog="Example: python -m benchmarks.security_estimate --json",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    as_json = parser.parse_args().json
    commit = estimator_commit()
    attacks = Estimate("", "", 0).attacks
    sets: dict[str, Any] = {}
    wrong: list[str] = []
    for one in instances():
        sets[one.name] = {"shipped": one.shipped, "primal uSVP alone": primal_core_svp(one)}
        if commit is not None:
            found = ask_estimator(one, attacks)
            sets[one.name]["estimator"] = found
            wrong += compare(one, found)
    document = {"estimator_commit": commit, "least_bits": LEAST_BITS, "sets": sets, "differs": wrong}
    print(json.dumps(document, indent=2) if as_json else table(document))
    if commit is None:
        print(
            "malb/lattice-estimator is not installed here, so the shipped figures were not reproduced: clone "
            "it and run this with 'PYTHONPATH=.:lattice-estimator sage -python'.",
            file=sys.stderr,
        )
        return 2
    return 1 if wrong else 0


def table(document: dict[str, Any]) -> str:
    """The same as lines."""
    lines = [f"estimator commit: {document['estimator_commit'] or 'not installed'}"]
    for name, figures in document["sets"].items():
        for source, bits in figures.items():
            shown = {model: round(x, 1) if isinstance(x, float) else x for model, x in bits.items()}
            lines.append(f"{name}, {source}: {shown}")
    return "\n".join([*lines, *document["differs"]])


if __name__ == "__main__":
    sys.exit(main())
