"""Training slices in memory: the model's input as the stream makes it, with the reference on its grid."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Generator, Tensor

from evaluation.cases import Case, read_case
from evaluation.pairs import CaseError, Pair, find_pairs
from stages.preprocess.grid import to_field
from stages.preprocess.options import PreprocessOptions
from stages.preprocess.stage import Preprocess

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from stages.batches import Prepared


@dataclass(frozen=True, slots=True)
class Labelled:
    """One case, prepared."""

    name: str
    x_NCHW: Tensor  # float32
    truth_N1HW: Tensor  # float32, 0 or 1
    files: bytes  # names and SHA-256 digests of its files


@dataclass(frozen=True, slots=True)
class Slices:
    """All slices of all cases."""

    x_NCHW: Tensor  # float32
    truth_N1HW: Tensor  # float32, 0 or 1
    case_N: Tensor  # int64, the number of the case that a slice is of
    digest: str  # SHA-256 over the files, in name order

    @property
    def cases(self) -> int:
        """How many cases the slices are of."""
        return len(torch.unique(self.case_N))

    def to(self, device: str) -> Slices:
        """The same on another device."""
        return Slices(self.x_NCHW.to(device), self.truth_N1HW.to(device), self.case_N, self.digest)

    def __len__(self) -> int:
        return len(self.x_NCHW)

    def steps(self, size: int) -> int:
        """Batches of an epoch."""
        return max(len(self) // size, 1)

    def order(self, size: int, structure_share: float, generator: Generator) -> Tensor:
        """Row numbers of one pass, int64 [steps * size]; ``structure_share`` of them show the structure.

        A pass has about as many rows as there are slices, drawn without repetition until a kind is used up.
        No batch is short: the statistics of a few slices would mislead the normalisation.
        """
        shows_N = (self.truth_N1HW.amax((1, 2, 3)) > 0).cpu()
        kinds = [torch.nonzero(shows_N)[:, 0], torch.nonzero(~shows_N)[:, 0]]
        if not len(kinds[1]):
            structure_share = 1.0
        total = min(size, len(self)) * self.steps(size)
        wanted = round(total * structure_share)
        drawn = [
            _draw(kind, count, generator) for kind, count in zip(kinds, (wanted, total - wanted), strict=True)
        ]
        order_N = torch.cat(drawn)
        return order_N[torch.randperm(len(order_N), generator=generator)]

    def at(self, rows_N: Tensor) -> tuple[Tensor, Tensor]:
        """Input and truth of these rows, on the slices' device."""
        here = rows_N.to(self.x_NCHW.device, non_blocking=True)
        return self.x_NCHW[here], self.truth_N1HW[here]


def _draw(kind: Tensor, count: int, generator: Generator) -> Tensor:
    """``count`` of these rows: whole shuffled rounds, then a part of one."""
    rounds = [
        kind[torch.randperm(len(kind), generator=generator)] for _ in range(0, count, max(len(kind), 1))
    ]
    return torch.cat(rounds)[:count] if rounds else kind[:0]


def read_slices(folder: Path, recipe: PreprocessOptions) -> Slices:
    """Decode and prepare every case of a folder. Raises CaseError."""
    slices = joined(read_labelled(find_pairs(folder), recipe))
    if not slices.truth_N1HW.any():
        raise CaseError(f"no reference in {folder} marks anything: there is nothing to learn")
    return slices


def read_labelled(pairs: Iterable[Pair], recipe: PreprocessOptions) -> Iterator[Labelled]:
    """Decode and prepare cases one by one. Raises CaseError."""
    with Preprocess(recipe).open() as preprocess:
        for pair in pairs:
            case = read_case(pair)
            prepared = preprocess(case.frames).kept
            if not len(prepared):
                raise CaseError(f"{pair.image} has no slice that shows anything")
            truth_N1HW = torch.from_numpy(truth_on_field(case, prepared, recipe.size))
            yield Labelled(pair.name, torch.from_numpy(prepared.x_NCHW), truth_N1HW, digests(pair))


def digests(pair: Pair) -> bytes:
    """Names and SHA-256 digests of a case's files."""
    return b"".join(
        path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest() for path in pair.files
    )


def joined(cases: Iterable[Labelled]) -> Slices:
    """The slices of these cases, at least one, in their order."""
    many = list(cases)
    numbers = [torch.full((len(case.x_NCHW),), number) for number, case in enumerate(many)]
    return Slices(
        torch.cat([case.x_NCHW for case in many]),
        torch.cat([case.truth_N1HW for case in many]),
        torch.cat(numbers),
        hashlib.sha256(b"".join(case.files for case in many)).hexdigest(),
    )


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
