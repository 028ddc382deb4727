"""The LWE parameter sets that this product supports, as data; any other is refused.

``estimates`` are bits of an attack's cost: the output of the named tool, the minimum over the named attacks,
under the cost model that each entry names. ``benchmarks/security_estimate.py`` runs the tool again where
it is installed. For comparison: n = 1024, q = 2^32, sigma = 6.4 (as in SimplePIR) is estimated at 121.5
bits, below LEAST_BITS, and has no entry here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from types import MappingProxyType
from typing import Final

import numpy as np

from stages.errors import OperatorError

LEAST_BITS: Final = 128  # under every cost model: what an entry of the table is tested to have


class ParameterError(OperatorError):
    """A parameter set that is not in the table."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the cheapest of the attacks costs, by which tool and cost model."""

    tool: str
    model: str
    bits: float
    attacks: tuple[str, ...] = ("usvp", "dual_hybrid", "bdd", "bdd_hybrid")
    commit: str | None = None  # of the tool; None: the run that gave the figure did not record it


@dataclass(frozen=True, slots=True)
class Parameters:
    """One LWE instance; q = 2**q_bits, plaintext scale Delta = 2**delta_bits."""

    name: str
    number: int  # the parameter id on the wire
    n: int  # LWE dimension
    slots: int  # columns of S and B: records per block, at most
    q_bits: int
    delta_bits: int
    noise_bits: int  # b of the noise TU(b)
    max_terms: int  # blocks that may be added: failure stays below 2^-60 a block (docs/lwe.md)
    estimates: tuple[Estimate, ...]
    exact_scores: bool = False  # weights are kept so short that no noise is left in a rounded score

    @property
    def word(self) -> np.dtype[np.unsignedinteger]:
        """The type of a word mod q, little-endian in memory as on the wire."""
        return np.dtype(f"<u{self.q_bits // 8}")

    @property
    def plaintext_bits(self) -> int:
        """Plaintexts are integers in [-2**(plaintext_bits - 1), 2**(plaintext_bits - 1))."""
        return self.q_bits - self.delta_bits

    @property
    def plaintext_bound(self) -> int:
        """The first positive integer that is no plaintext."""
        return 1 << (self.plaintext_bits - 1)

    @property
    def delta(self) -> int:
        """What a plaintext is multiplied by."""
        return 1 << self.delta_bits

    @property
    def sigma(self) -> float:
        """Standard deviation of TU(b): (2**(2b + 2) - 1) / 12 for the uniform part, 1/4 for the bit."""
        return sqrt(((1 << 2 * self.noise_bits + 2) - 1) / 12 + 0.25)

    @property
    def sigma_fresh(self) -> float:
        """Standard deviation of R E + E2 - E1 S per word: sigma sqrt(n + 1), as CBD(1) has variance 1/2."""
        return self.sigma * sqrt(self.n + 1)


_TOOL: Final = "malb/lattice-estimator"

LWE32: Final = Parameters(
    name="LWE32",
    number=1,
    n=1536,
    slots=1024,
    q_bits=32,
    delta_bits=14,
    noise_bits=4,
    max_terms=4,
    estimates=(
        Estimate(_TOOL, "MATZOV, classical", 167.5),
        Estimate(_TOOL, "core-SVP, classical", 142.2),
        Estimate(_TOOL, "core-SVP, quantum", 130.1),
    ),
)

LWE64: Final = Parameters(
    name="LWE64",
    number=2,
    n=2560,
    slots=1024,
    q_bits=64,
    delta_bits=36,
    noise_bits=16,
    max_terms=1_000_000,
    estimates=(
        Estimate(_TOOL, "MATZOV, classical", 170.9),
        Estimate(_TOOL, "core-SVP, classical", 144.0),
        Estimate(_TOOL, "core-SVP, quantum", 131.1),
    ),
    exact_scores=True,
)

TABLE: Final = MappingProxyType({one.number: one for one in (LWE32, LWE64)})


def by_number(number: int) -> Parameters:
    """The parameter set with this wire id."""
    if number not in TABLE:
        raise ParameterError(
            f"LWE parameter set {number} is unknown or too weak: this version knows {_listed()}"
        )
    return TABLE[number]


def require_known(parameters: Parameters) -> None:
    """Refuse a parameter set that is not exactly an entry of the table."""
    if TABLE.get(parameters.number) != parameters:
        raise ParameterError(f"LWE parameter set {parameters.name} is not in the table: use {_listed()}")


def _listed() -> str:
    return ", ".join(f"{name} ({number})" for number, name in zip(TABLE, known_parameters(), strict=True))


def known_parameters() -> tuple[str, ...]:
    """The names of the LWE parameter sets that keys can be made for."""
    return tuple(one.name for one in TABLE.values())
