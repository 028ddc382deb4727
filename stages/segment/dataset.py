"""Training slices in memory: what the stream would feed the model, with the reference on its grid."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Generator, Tensor

from stages.preprocess.grid import to_field
from stages.preprocess.stage import Preprocess, PreprocessOptions
from stages.segment.cases import Case, CaseError, find_pairs, read_case

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stages.batches import Prepared


@dataclass(frozen=True, slots=True)
class Slices:
    """All slices of all cases."""

    x_NCHW: Tensor  # float32
    truth_N1HW: Tensor  # float32, 0 or 1
    cases: int
    digest: str  # SHA-256 over the files, in name order

    def __len__(self) -> int:
        return len(self.x_NCHW)

    def batches(
        self, size: int, structure_share: float, generator: Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch, as many slices as there are, ``structure_share`` of them showing the structure.

        Slices are drawn without repetition as far as each kind lasts.
        """
        shows_N = self.truth_N1HW.amax((1, 2, 3)) > 0
        kinds = [torch.nonzero(shows_N)[:, 0], torch.nonzero(~shows_N)[:, 0]]
        if not len(kinds[1]):
            structure_share = 1.0
        wanted = round(len(self) * structure_share)
        drawn = [
            _draw(kind, count, generator)
            for kind, count in zip(kinds, (wanted, len(self) - wanted), strict=True)
        ]
        order_N = torch.cat(drawn)
        order_N = order_N[torch.randperm(len(order_N), generator=generator)]
        for rows in torch.split(order_N, size):
            yield self.x_NCHW[rows], self.truth_N1HW[rows]


def _draw(kind: Tensor, count: int, generator: Generator) -> Tensor:
    """``count`` of these rows: whole shuffled rounds, then a part of one."""
    rounds = [
        kind[torch.randperm(len(kind), generator=generator)] for _ in range(0, count, max(len(kind), 1))
    ]
    return torch.cat(rounds)[:count] if rounds else kind[:0]


def read_slices(folder: Path, recipe: PreprocessOptions) -> Slices:
    """Decode and prepare every case of a folder. Raises CaseError."""
    digest = hashlib.sha256()
    xs: list[Tensor] = []
    truths: list[Tensor] = []
    pairs = find_pairs(folder)
    with Preprocess(recipe).open() as preprocess:
        for pair in pairs:
            for path in pair.files:
                digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
            case = read_case(pair)
            prepared = preprocess(case.frames).kept
            xs.append(torch.from_numpy(prepared.x_NCHW))
            truths.append(torch.from_numpy(truth_on_field(case, prepared, recipe.size)))
    truth_N1HW = torch.cat(truths)
    if not truth_N1HW.any():
        raise CaseError(f"no reference in {folder} marks anything: there is nothing to learn")
    return Slices(torch.cat(xs), truth_N1HW, len(pairs), digest.hexdigest())


def truth_on_field(
    case: Case, prepared: Prepared, size: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The reference of the prepared slices as 0 and 1, [N, 1, size, size]."""
    numbers = [int.from_bytes(key, "big") for key in prepared.rows.keys]
    truth_NHW = [
        to_field(case.truth_SHW[number], grid, size) >= 0.5  # noqa: PLR2004  half covered is inside
        for number, grid in zip(numbers, prepared.grids, strict=True)
    ]
    return np.stack(truth_NHW)[:, None].astype(np.float32)
