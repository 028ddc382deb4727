"""Sums over records without a key: for a block and a set of its slots, (C1, sum of their columns) mod q.

One head serves all columns of a block, so the sum of columns j decrypts under the sum of the S_j. Blocks
of which the same slots are wanted share that sum, and their partial sums are added into one. What is
added is bounded by the plaintext range; more records than fit become several partial sums.

The noise of m records has standard deviation sqrt(m) sigma_fresh (the columns of E and E2 are independent,
and so are the blocks): the sum is exact while NOISE_MARGIN of them stay below Delta / 2. This module
imports no key: an index server may run it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import floor, sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stages.encrypt.lwe.errors import PlaintextOverflowError
from stages.encrypt.lwe.quantise import NOISE_MARGIN
from stages.encrypt.lwe.wire import Header, check_block

_HELD: Final = 32  # partial sums that wait for blocks with the same slots: bounds memory


@dataclass(frozen=True, slots=True)
class Partial:
    """Records added up: the same positions of a number of blocks."""

    header: Header  # of one of the blocks; all agree in everything but their count
    positions_N: NDArray[np.uint32]
    blocks: int
    head_Dn: NDArray[Any] = field(repr=False)  # sum of C1
    total_D: NDArray[Any] = field(repr=False)  # sum of the columns

    @property
    def records(self) -> int:
        """How many records this is the sum of."""
        return self.blocks * len(self.positions_N)

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise in a component, in units of 1 / Delta."""
        parameters = self.header.parameters
        return parameters.sigma_fresh * sqrt(self.records * self.header.terms)

    @property
    def exact(self) -> bool:
        """Whether rounding removes the noise, but for a failure below 2^-100."""
        return NOISE_MARGIN * self.sigma < self.header.parameters.delta / 2


def most_records(header: Header) -> int:
    """How many records of this kind can be added without leaving the plaintext range, noise included."""
    parameters = header.parameters
    noise = NOISE_MARGIN * parameters.sigma_fresh * sqrt(header.terms) / parameters.delta
    # The largest m with m norm_bound + noise sqrt(m) <= bound - 1: no component is longer than its vector.
    root = sqrt(noise**2 + 4 * header.norm_bound * (parameters.plaintext_bound - 1)) - noise
    most = floor((root / (2 * header.norm_bound)) ** 2)
    if not most:
        raise PlaintextOverflowError(f"a record of scale {header.scale} fills the plaintext range by itself")
    return most


def sum_block(
    header: Header, head_Dn: NDArray[Any], columns_ND: NDArray[Any], positions_N: NDArray[np.uint32]
) -> Iterator[Partial]:
    """The partial sums of these columns of a block, as few as the plaintext range allows."""
    check_block(header, head_Dn, columns_ND, positions_N)
    step = most_records(header)
    for lo in range(0, len(positions_N), step):
        some_ND = columns_ND[lo : lo + step]
        total_D = some_ND.sum(axis=0, dtype=some_ND.dtype)  # wraps, which is the reduction mod q
        yield Partial(header, positions_N[lo : lo + step], 1, head_Dn, total_D)


class Collector:
    """Adds up partial sums over the same slots. Memory is bounded: the longest unused is given out."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[Header, bytes], Partial] = OrderedDict()

    def add(self, new: Partial) -> Iterator[Partial]:
        """Add one partial sum; returns a sum that takes no further summand."""
        kind = (replace(new.header, count=0), new.positions_N.tobytes())
        old = self._held.pop(kind, None)
        if old is not None and old.records + new.records <= most_records(new.header):
            new = Partial(
                new.header,
                new.positions_N,
                old.blocks + new.blocks,
                old.head_Dn + new.head_Dn,
                old.total_D + new.total_D,
            )
        elif old is not None:
            yield old
        self._held[kind] = new
        if len(self._held) > _HELD:
            yield self._held.popitem(last=False)[1]

    def rest(self) -> Iterator[Partial]:
        """What is still held."""
        while self._held:
            yield self._held.popitem(last=False)[1]
