"""The learned patients' prepared slices as 8-bit levels: what a training needs, in a tenth of the bytes.

After equalisation a slice has at most 256 values, so each is a table of them and a level a pixel: the slices
come back bit for bit. Neighbours are slices of the same case and are not stored twice. The truth is one bit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save

from stages.preprocess.options import PreprocessOptions
from training.dataset import Labelled, read_labelled
from training.splits import read_splits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

LEVELS = 256


def packed(data: Path) -> bytes:
    """Every learned patient of ``splits.toml`` below ``data``, with the part that each is in."""
    splits = read_splits()
    fold_of = {pair.name: fold for fold in range(splits.folds) for pair in splits.out_of_fold(data, fold)}
    cases = read_labelled(splits.learned(data, without=None), PreprocessOptions())
    return pack(cases, fold_of)


def pack(cases: Iterable[Labelled], fold_of: dict[str, int]) -> bytes:
    """Raises ValueError for a case that would not come back as it was."""
    tensors: dict[str, NDArray[Any]] = {}
    about = []
    for number, case in enumerate(cases):
        own_NHW = case.x_NCHW[:, 1].numpy()
        levels = [np.unique(own_HW, return_inverse=True) for own_HW in own_NHW]
        if max(len(values) for values, _ in levels) > LEVELS:
            raise ValueError(f"{case.name} has slices of more than {LEVELS} values")
        table_NL = np.zeros((len(levels), LEVELS), np.float32)
        for row, (values, _) in enumerate(levels):
            table_NL[row, : len(values)] = values
        tensors[f"{number}.table"] = table_NL
        tensors[f"{number}.level"] = np.stack([at.reshape(own_NHW[0].shape) for _, at in levels]).astype(
            np.uint8
        )
        tensors[f"{number}.truth"] = np.packbits(case.truth_N1HW.numpy() > 0, axis=-1)
        about.append({"name": case.name, "files": case.files.hex(), "fold": fold_of[case.name]})
        if not torch.equal(_case(about[-1], number, tensors).x_NCHW, case.x_NCHW):
            raise ValueError(f"{case.name} does not come back as it was")
    return save(tensors, {"cases": json.dumps(about)})


def unpack(path: Path) -> tuple[list[Labelled], dict[str, int]]:
    """The cases, and the part that each is in."""
    with safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["cases"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    cases = [_case(one, number, tensors) for number, one in enumerate(about)]
    return cases, {one["name"]: one["fold"] for one in about}


def _case(about: dict[str, Any], number: int, tensors: dict[str, NDArray[Any]]) -> Labelled:
    table_NL, level_NHW = tensors[f"{number}.table"], tensors[f"{number}.level"]
    own_NHW = np.take_along_axis(table_NL, level_NHW.reshape(len(level_NHW), -1).astype(np.int64), 1)
    own_NHW = own_NHW.reshape(level_NHW.shape)
    before_NHW, after_NHW = (
        np.concatenate(one) for one in ((own_NHW[:1], own_NHW[:-1]), (own_NHW[1:], own_NHW[-1:]))
    )
    truth_N1HW = np.unpackbits(tensors[f"{number}.truth"], axis=-1)[..., : level_NHW.shape[-1]].astype(
        np.float32
    )
    return Labelled(
        about["name"],
        torch.from_numpy(np.stack((before_NHW, own_NHW, after_NHW), 1)),
        torch.from_numpy(truth_N1HW),
        bytes.fromhex(about["files"]),
    )
