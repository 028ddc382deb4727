"""Sum and mean of a cohort's feature vectors: added up as ciphertexts, opened once per partial sum.

The server part (``stages.encrypt.lwe.cohort``) needs no key. Each partial sum is opened with the
generation that it is under, and added up here. Every record's bytes are checked up to the signed root
first, so a sum is of what the log holds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.queries.inclusion import prove_rows
from stages.encrypt.keys.opening import open_sum
from stages.encrypt.lwe.cohort import Collector, sum_block
from stages.encrypt.lwe.errors import LweError
from stages.encrypt.lwe.wire import decode_header
from stages.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from stages.encrypt.keys.folder import OwnerKeys
    from stages.encrypt.lwe.cohort import Partial
    from stages.index.reader import Reader

_NAMED = 3  # keys named in an error's sentence
_ROUNDING = 1 / 12  # variance of rounding to an integer


class CohortError(OperatorError):
    """A cohort that cannot be added up; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class CohortSum:
    """Feature vectors added up, in feature units."""

    records: int
    sum_D: NDArray[np.float64] = field(repr=False)
    exact: bool  # equals the sum of the encrypted integers
    noise_sd: float  # else: standard deviation of a component's error from noise and rounding
    answers: int  # partial sums that were opened
    key_ids: tuple[str, ...]  # hex, of the generations involved

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean vector."""
        mean_D: NDArray[np.float64] = self.sum_D / self.records
        return mean_D


def cohort_sum(reader: Reader, owners: Mapping[bytes, OwnerKeys], keys: Collection[bytes]) -> CohortSum:
    """The sum over the records with these keys, each once. Raises CohortError where one is not there."""
    wanted = set(keys)
    if not wanted:
        raise CohortError("the cohort is empty: give at least one record id")
    _require_known(reader, wanted)
    total_D: NDArray[np.float64] | None = None
    opened, variance, records = 0, 0.0, 0
    used: dict[str, None] = {}
    for partial in _partials(reader, owners, wanted):
        header = partial.header
        sum_D = open_sum(owners[header.key_id].lwe, partial) / header.scale
        if total_D is not None and len(total_D) != len(sum_D):
            raise CohortError(
                f"some records have {len(total_D)} features, others {len(sum_D)}: split the cohort"
            )
        total_D = sum_D if total_D is None else total_D + sum_D
        opened, records = opened + 1, records + partial.records
        used[header.key_id.hex()] = None
        if not partial.exact:
            variance += ((partial.sigma / header.parameters.delta) ** 2 + _ROUNDING) / header.scale**2
    if total_D is None or records != len(wanted):
        raise CohortError(
            f"only {records} of {len(wanted)} records could be added up: run 'medsecure index verify'"
        )
    return CohortSum(records, total_D, variance == 0, sqrt(variance), opened, tuple(used))


def _partials(
    reader: Reader, owners: Mapping[bytes, OwnerKeys], wanted: Collection[bytes]
) -> Iterator[Partial]:
    """The partial sums over the wanted records, block by block; those under other keys are an error."""
    collector = Collector()
    closed: Counter[str] = Counter()
    for block in reader.blocks():
        rows = [row for row, key in enumerate(block.keys) if key in wanted]
        if not rows:
            continue
        try:
            header = decode_header(block.header)
        except LweError as error:
            raise CohortError(
                f"{len(rows)} records from number {block.first_index:,} on cannot be added up, so leave them "
                f"out: {error}"
            ) from error
        if header.key_id not in owners:
            closed[header.key_id.hex()[:16]] += len(rows)
        if closed:
            continue
        prove_rows(reader, block, rows)
        columns_ND, positions_N = block.columns_ND[rows], block.positions_N[rows]
        for partial in sum_block(header, block.head_Dn, columns_ND, positions_N):
            yield from collector.add(partial)
    if closed:
        others = ", ".join(f"{count} under {key_id}" for key_id, count in closed.items())
        raise CohortError(
            f"some of the cohort's records are under keys that --secret does not hold ({others}): "
            "give the folder with the retired keys, or split the cohort"
        )
    yield from collector.rest()


def _require_known(reader: Reader, wanted: set[bytes]) -> None:
    missing = wanted.difference(reader.keys())
    if missing:
        named = ", ".join(key.hex() for key in sorted(missing)[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise CohortError(f"the index lacks {len(missing)} of {len(wanted)} records: {named}{more}")
