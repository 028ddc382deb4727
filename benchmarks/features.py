"""Which features find their kind: retrieval of neighbouring slices and of like anatomy, on labelled cases.

Queries are slices that show the gland. Figures for each choice of features:

* neighbour: share of slices whose nearest other slice is the one before or after it, in the same patient;
* patient: share whose nearest other slice is of the same patient;
* anatomy: mean overlap (IoU on the model's field) of the reference masks of a slice and of its nearest slice
  in *another* patient; beside it chance (a random slice) and the oracle (the best slice there is);
* morphology: rank correlation (Spearman) over pairs of slices of different patients, between the cosine of
  their features and the overlap of their reference masks.

    python -m benchmarks.features --data CASES [--data CASES] --json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch.nn import functional as F  # noqa: N812  # torch's own name for it

from benchmarks.report import emit
from evaluation.pairs import find_pairs
from stages.segment import checkpoint
from stages.segment.features import APPEARANCE_GRID, GLAND_GRID, SHAPE_GRID, Segmenter
from training.dataset import joined, read_labelled

BATCH = 16
PAIRS = 100_000  # of slices, drawn for the correlation


def main() -> None:
    """Measure the shipped choice, its parts, and their sum without projection."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, action="append", required=True, help="folder of cases")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args()
    segmenter, info = checkpoint.load()
    pairs = [pair for folder in arguments.data for pair in find_pairs(folder)]
    slices = joined(read_labelled(pairs, info.recipe))
    shows_N = slices.truth_N1HW.amax((1, 2, 3)) > 0
    truth_NP = F.avg_pool2d(slices.truth_N1HW[shows_N], 4).flatten(1).numpy()
    case_N, place_N = slices.case_N[shows_N].numpy(), np.flatnonzero(shows_N.numpy())
    overlap_NN = overlap(truth_NP)
    results: dict[str, Any] = {"weights": info.digest, "slices": len(case_N), "cases": slices.cases}
    results |= bounds(overlap_NN, case_N)
    for name, feature_ND in choices(segmenter, slices.x_NCHW[shows_N]).items():
        results[name] = score(feature_ND, case_N, place_N, overlap_NN)
    emit("features", results, [], ("torch", "numpy", "scipy"), as_json=arguments.json)


def choices(segmenter: Segmenter, x_NCHW: torch.Tensor) -> dict[str, NDArray[np.float32]]:
    """Unit vectors of the shipped projection, of all parts without it, and of each part."""
    with torch.inference_mode():
        raw_NR = torch.cat([segmenter.raw(part)[1] for part in torch.split(x_NCHW, BATCH)])
        shipped_ND = segmenter.descriptor(raw_NR)
    channels = segmenter.net.config.channels
    sizes = [channels[1] * GLAND_GRID**2, SHAPE_GRID**2, channels[-1], APPEARANCE_GRID**2]
    parts = dict(zip(("gland", "shape", "context", "appearance"), torch.split(raw_NR, sizes, 1), strict=True))
    every = {"shipped": shipped_ND, "parts_unprojected": raw_NR} | parts
    return {name: F.normalize(one).numpy() for name, one in every.items()}


def overlap(truth_NP: NDArray[np.float32]) -> NDArray[np.float64]:
    """Intersection over union of every two reference masks, [N, N]; masks pooled to quarter resolution."""
    both_NN = truth_NP.astype(np.float64) @ truth_NP.T
    size_N = (truth_NP.astype(np.float64) ** 2).sum(1)
    union_NN: NDArray[np.float64] = size_N[:, None] + size_N - both_NN
    return both_NN / union_NN


def bounds(overlap_NN: NDArray[np.float64], case_N: NDArray[np.int64]) -> dict[str, float]:
    """What a random slice of another patient, and the best one, would reach."""
    other_NN = case_N[:, None] != case_N
    best = np.where(other_NN, overlap_NN, 0).max(1).mean()
    return {"anatomy_chance": float(overlap_NN[other_NN].mean()), "anatomy_oracle": float(best)}


def score(
    feature_ND: NDArray[np.float32],
    case_N: NDArray[np.int64],
    place_N: NDArray[np.int64],
    overlap_NN: NDArray[np.float64],
) -> dict[str, float]:
    """The four figures."""
    cosine_NN = feature_ND @ feature_ND.T
    np.fill_diagonal(cosine_NN, -2)
    nearest_N = cosine_NN.argmax(1)
    same_N = case_N[nearest_N] == case_N
    beside_N = same_N & (np.abs(place_N[nearest_N] - place_N) == 1)
    other_NN = case_N[:, None] != case_N
    abroad_N = np.where(other_NN, cosine_NN, -2).argmax(1)
    rows, columns = np.nonzero(np.triu(other_NN))
    drawn = np.random.default_rng(0).permutation(len(rows))[:PAIRS]
    at = rows[drawn], columns[drawn]
    return {
        "neighbour": float(beside_N.mean()),
        "patient": float(same_N.mean()),
        "anatomy": float(overlap_NN[np.arange(len(abroad_N)), abroad_N].mean()),
        "morphology": float(spearmanr(cosine_NN[at], overlap_NN[at]).statistic),
    }


if __name__ == "__main__":
    main()
