"""The int8 model from a weights file: calibration slices, quantisation, and how well it agrees.

Without data the slices show the synthetic phantom under the augmentation of training: coil flare, contrast
and field of view then drive the activations as far as real slices do. A fresh clone can therefore make the
artefact, and it holds nothing of any patient.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from evaluation.dice import dice
from evaluation.phantom import Phantom
from stages.batches import Frame, Frames, Rows
from stages.packed import Packed
from stages.preprocess.options import PreprocessOptions
from stages.preprocess.stage import Preprocess
from stages.segment import checkpoint, int8, runtime
from stages.segment.options import Runtime
from training.augment import augment
from training.dataset import read_slices

if TYPE_CHECKING:
    from pathlib import Path

SLICES = 132  # calibration slices, the most
PHANTOMS_MM = (0.5, 0.6, 0.7, 0.7, 0.8, 0.9)  # pixel spacings of as many phantoms of 22 slices
BATCH = 16  # slices per pass when runtimes are compared


@dataclass(frozen=True, slots=True)
class Quantised:
    """The artefact, and how it compares with single precision on the calibration slices."""

    folder: Path
    calibration: str
    slices: int
    mask_dice: float  # of the int8 masks against the single-precision ones, pooled
    feature_cosine: float  # mean over slices


def quantise(weights: Path | None, data: Path | None, artefacts: Path | None) -> Quantised:
    """Make the artefact. Raises CaseError for bad data, WeightsError and ArtefactError."""
    recipe = checkpoint.describe(weights).recipe
    x_NCHW, digest = phantom_slices(recipe) if data is None else real_slices(data, recipe)
    folder = int8.quantise(weights, x_NCHW, digest, artefacts)
    names: tuple[Runtime, ...] = ("openvino", "openvino-int8")
    exact, narrow = (_answers(runtime.load(weights, "cpu", 1, name, artefacts), x_NCHW) for name in names)
    overlap = dice(narrow[0] >= 0.5, exact[0] >= 0.5)  # noqa: PLR2004  # the default threshold
    cosine = float((narrow[1] * exact[1]).sum(1).mean())
    return Quantised(folder, digest, len(x_NCHW), overlap, cosine)


def real_slices(data: Path, recipe: PreprocessOptions) -> tuple[NDArray[np.float32], str]:
    """Up to SLICES slices of a folder of cases, drawn at random, and the folder's digest."""
    slices = read_slices(data, recipe)
    rows = np.random.default_rng(0).permutation(len(slices))[:SLICES]
    return slices.x_NCHW[torch.from_numpy(rows)].numpy(), slices.digest


def phantom_slices(recipe: PreprocessOptions) -> tuple[NDArray[np.float32], str]:
    """SLICES augmented slices of phantoms, and the digest of their values."""
    count = SLICES // len(PHANTOMS_MM)
    rows = Rows(
        tuple(i.to_bytes(32, "big") for i in range(count)), (b"",) * count, (b"",) * count, (b"",) * count
    )
    prepared = []
    with Preprocess(recipe).open() as preprocess:
        for seed, spacing_mm in enumerate(PHANTOMS_MM):
            images = Phantom(spacing_mm=spacing_mm, seed=seed).slices(count)
            frames = tuple(Frame(image, (spacing_mm, spacing_mm)) for image in images)
            prepared.append(preprocess(Frames(rows, frames)).kept.x_NCHW)
    x_NCHW = torch.from_numpy(np.concatenate(prepared))
    nothing_N1HW = torch.zeros(len(x_NCHW), 1, recipe.size, recipe.size)
    changed_NCHW, _ = augment(x_NCHW, nothing_N1HW, torch.Generator().manual_seed(0))
    calibration_NCHW = changed_NCHW.numpy()
    return calibration_NCHW, hashlib.sha256(calibration_NCHW.tobytes()).hexdigest()


def _answers(
    infer: runtime.Infer, x_NCHW: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    parts = [infer(Packed.of(x_NCHW[lo : lo + BATCH])) for lo in range(0, len(x_NCHW), BATCH)]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
