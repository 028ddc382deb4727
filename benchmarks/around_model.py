"""What the stages do around the model: CPU time per frame, against the usual calls for the same steps.

Frames are 256 x 256, 16 bit, of the phantom. Ours and the peer's runs alternate in one process of one thread,
and CPU time is counted, so that other work on the machine touches both alike. The peers, OpenCV, NumPy and
SciPy called as their manuals show, do somewhat less: they know no image border, confidence or small island,
and fill every hole.

    python -m benchmarks.around_model --json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from threadpoolctl import threadpool_limits

from benchmarks.phantoms import SPACING_MM, decoded
from benchmarks.report import Goal, at_least, emit
from evaluation.phantom import Phantom
from stages.batches import Segmented
from stages.components import mended
from stages.preprocess.options import PreprocessOptions
from stages.preprocess.stage import Preprocess
from stages.segment.options import SegmentOptions
from stages.segment.runtime import Inference
from stages.segment.stage import Segment

SERIES = 6
SLICES = 24  # a series
REPEATS = 7
LEAST_RATIO = 2.0


def main() -> None:
    """Measure both sides once and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    as_json = parser.parse_args().json
    images = np.concatenate([Phantom(seed=seed).slices(SLICES) for seed in range(SERIES)])
    options = PreprocessOptions()
    with Preprocess(options).open() as prepare, threadpool_limits(1):
        batch = decoded(images, SLICES)
        prepared = prepare(batch).kept
        before = paired(lambda: prepare(batch), lambda: plain_input(images, options), len(images))
        answer, segment = answers(len(images), options.size), Segment(SegmentOptions())
        after = paired(
            lambda: masks_of(segment.answered(prepared, answer).kept),
            lambda: plain_masks(answer.probability_NHW, images.shape[1:]),
            len(images),
        )
    results = {"before": before, "after": after}
    emit(
        "around-model", results, goals(results), ("numpy", "opencv-python-headless", "scipy"), as_json=as_json
    )


def goals(results: dict[str, dict[str, float]]) -> list[Goal]:
    """What was aimed for."""
    return [
        at_least(f"peer over ours, {name} the model", one["peer_ms"] / one["ours_ms"], "times", LEAST_RATIO)
        for name, one in results.items()
    ]


def paired(ours: Callable[[], object], peer: Callable[[], object], count: int) -> dict[str, float]:
    """CPU milliseconds per frame of both, the least of several repeats in turn after one to warm up."""
    took: dict[str, list[float]] = {"ours_ms": [], "peer_ms": []}
    for _ in range(REPEATS + 1):
        for (_, found), call in zip(took.items(), (ours, peer), strict=True):
            start = time.process_time()
            call()
            found.append((time.process_time() - start) / count * 1e3)
    return {name: min(found[1:]) for name, found in took.items()}


def answers(count: int, size: int) -> Inference:
    """A disc in each slice that swells and shrinks along its series."""
    row, column = np.mgrid[:size, :size]
    radius_N = 6 + 24 * np.sin(np.arange(count) % SLICES / SLICES * np.pi)
    beyond_NHW = np.hypot(row - size / 2, column - size / 2) - radius_N[:, None, None]
    probability_NHW = (1 / (1 + np.exp(beyond_NHW / 2))).astype(np.float32)
    feature_ND = np.eye(1, 256, dtype=np.float32).repeat(count, 0)
    return Inference(probability_NHW, feature_ND, np.zeros(count, np.float32))


def masks_of(segmented: Segmented) -> list[NDArray[np.bool_]]:
    """The masks as delivery mends them, series by series."""
    found = []
    for start in range(0, len(segmented), SLICES):
        of_series = [one.unpack() for one in segmented.masks[start : start + SLICES]]
        found += [mask_HW for mask_HW, _ in mended(len(of_series), of_series.__getitem__, largest=True)]
    return found


def plain_input(images: NDArray[np.uint16], options: PreprocessOptions) -> NDArray[np.float32]:
    """Resized, without its background, clipped at percentiles, equalised and normalised, with neighbours."""
    size = options.size
    side = round(size * options.spacing_mm / SPACING_MM)
    edge = (images.shape[1] - side) // 2
    limits = (options.low_percentile, options.high_percentile)
    clahe = cv2.createCLAHE(options.clahe_clip_limit, (options.clahe_tiles, options.clahe_tiles))
    x_NHW = np.empty((len(images), size, size), np.float32)
    for number, image_HW in enumerate(images):
        view_HW = image_HW[edge : edge + side, edge : edge + side].astype(np.float32)
        field_HW = cv2.resize(view_HW, (size, size), interpolation=cv2.INTER_AREA)
        patient_HW = largest(stretched(field_HW, *np.percentile(field_HW, limits)))
        field_HW = stretched(field_HW, *np.percentile(field_HW[patient_HW], limits))
        equal_HW = clahe.apply(field_HW) * patient_HW
        values = equal_HW[patient_HW]
        x_NHW[number] = (equal_HW - values.mean()) / values.std()
    return np.stack([np.roll(x_NHW, shift, 0) for shift in (1, 0, -1)], 1)


def stretched(field_HW: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """Levels from 0 to 255 between two values."""
    return (np.clip((field_HW - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def largest(levels_HW: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The largest object that is brighter than Otsu's threshold, its holes filled."""
    _, bright_HW = cv2.threshold(levels_HW, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    labels_HW, _ = ndimage.label(bright_HW)
    number = np.bincount(labels_HW.ravel())[1:].argmax() + 1
    filled_HW: NDArray[np.bool_] = ndimage.binary_fill_holes(labels_HW == number)
    return filled_HW


def plain_masks(probability_NHW: NDArray[np.float32], shape: Sequence[int]) -> list[NDArray[np.bool_]]:
    """The largest object of each series, resized to the stored grid, cut at one half, its holes filled."""
    masks = []
    for start in range(0, len(probability_NHW), SLICES):
        of_series_NHW = probability_NHW[start : start + SLICES]
        labels, _ = ndimage.label(of_series_NHW >= 0.5)
        number = np.bincount(labels.ravel())[1:].argmax() + 1
        for probability_HW, label_HW in zip(of_series_NHW, labels, strict=True):
            kept_HW = np.where((label_HW == number) | (label_HW == 0), probability_HW, 0)
            whole_HW: NDArray[Any] = cv2.resize(kept_HW, tuple(shape[::-1]), interpolation=cv2.INTER_LINEAR)
            masks.append(ndimage.binary_fill_holes(whole_HW >= 0.5))
    return masks


if __name__ == "__main__":
    main()
