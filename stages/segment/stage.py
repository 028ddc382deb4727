"""The segment stage: prepared slices in, masks on the stored grid, confidence and features out.

Confidence of a slice is the mean of |2p - 1| over its mask: 0 is a coin toss, 1 is certainty. Where the
mask is empty it is |2p - 1| at the pixel most like the structure, so that an empty slice can be unsure too.
It ranks slices; it is not calibrated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from stages.base import Reason, Reject, Split
from stages.batches import Prepared, Rows, Segmented, same_stack
from stages.components import large_components, without_islands
from stages.grid import Mask
from stages.preprocess.grid import to_original
from stages.segment import checkpoint
from stages.segment.options import SegmentOptions
from stages.segment.runtime import Inference, flip_averaged, load

UNIT_TOLERANCE = 0.01  # a feature vector further from unit length is no feature vector


@dataclass(frozen=True, slots=True)
class Segment:
    """Stage[Prepared, Segmented]. Writes nothing. A row the model cannot answer for is DEGENERATE."""

    options: SegmentOptions = field(default_factory=SegmentOptions)
    device: str = "cpu"
    name: ClassVar[str] = "segment"

    @contextmanager
    def open(self) -> Iterator[Callable[[Prepared], Split[Segmented]]]:
        """Load the weights and compile the model. Raises WeightsError."""
        options = self.options
        info = checkpoint.describe(options.weights)
        expected = (info.model.in_channels, info.recipe.size, info.recipe.size)
        infer = load(
            options.weights,
            self.device,
            options.threads,
            options.runtime,
            options.artefacts,
            (options.batch, *expected),
        )
        if options.flip_average:
            infer = flip_averaged(infer)

        def run(batch: Prepared) -> Split[Segmented]:
            if batch.x_NCHW.shape[1:] != expected:
                raise checkpoint.WeightsError(
                    f"{info.path} was trained on input of shape {expected}, preprocessing gives "
                    f"{batch.x_NCHW.shape[1:]}: use its own preprocessing recipe or other weights"
                )
            probability_NHW = np.zeros((len(batch), *expected[1:]), np.float32)
            feature_ND = np.zeros((len(batch), info.feature_dim), np.float32)
            novelty_N = np.zeros(len(batch), np.float32)
            for lo in range(0, len(batch), options.batch):
                part = slice(lo, lo + options.batch)
                probability_NHW[part], feature_ND[part], novelty_N[part] = infer(batch.x_NCHW[part])
            return self._answer(batch, Inference(probability_NHW, feature_ND, novelty_N))

        yield run

    def _answer(self, batch: Prepared, answer: Inference) -> Split[Segmented]:
        probability_NHW, feature_ND, novelty_N = answer
        sound_N = (
            np.isfinite(batch.x_NCHW).all((1, 2, 3))
            & np.isfinite(probability_NHW).all((1, 2))
            & (np.abs(np.linalg.norm(feature_ND, axis=1) - 1) < UNIT_TOLERANCE)  # False for NaN
        )
        kept = np.flatnonzero(sound_N).tolist()
        rows = batch.rows.take(kept)
        probability_NHW = probability_NHW[kept]
        threshold = self.options.threshold
        if self.options.largest_component:
            probability_NHW = keep_large_components(probability_NHW, rows, threshold)
        grids = [batch.grids[i] for i in kept]
        masks = tuple(
            Mask.pack(without_islands(to_original(probability_HW, grid) >= threshold))
            for probability_HW, grid in zip(probability_NHW, grids, strict=True)
        )
        known_N = np.array([grid.spacing_known for grid in grids], np.bool_)
        segmented = Segmented(
            rows,
            masks,
            confidence(probability_NHW, threshold),
            known_N,
            feature_ND[kept],
            novelty_N[kept],
        )
        detail = "The model gives no finite answer for this slice."
        rejected = tuple(
            Reject(batch.rows.keys[i], self.name, Reason.DEGENERATE, detail) for i in np.flatnonzero(~sound_N)
        )
        return Split(segmented, rejected)


def keep_large_components(
    probability_NHW: NDArray[np.float32], rows: Rows, threshold: float
) -> NDArray[np.float32]:
    """Set to 0 what belongs to no large component of its stack (components.py).

    A stack of which only a part is here is left as it is: what is small here may belong to an object that
    is large in the whole, so delivery decides. Rows of a stack follow each other in slice order. What is
    below the threshold stays too: the border of the object that stays is interpolated from it.
    """
    inside_NHW = probability_NHW >= threshold
    kept_NHW = probability_NHW.copy()
    starts = [i for i in range(len(rows)) if i == 0 or not same_stack(rows, i - 1, i)]
    for lo, hi in pairwise([*starts, len(rows)]):
        if hi - lo < rows.stacks[lo].slices:
            continue
        of_stack = inside_NHW[lo:hi]
        for row, large_HW in enumerate(large_components(hi - lo, of_stack.__getitem__), lo):
            kept_NHW[row, inside_NHW[row] & ~large_HW] = 0
    return kept_NHW


def confidence(probability_NHW: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """Mean |2p - 1| over the mask; where it is empty, |2p - 1| at the largest p. [N], 0..1."""
    mask_NHW = probability_NHW >= threshold
    certainty_NHW = np.abs(2 * probability_NHW - 1)
    size_N = mask_NHW.sum((1, 2))
    inside_N = (certainty_NHW * mask_NHW).sum((1, 2)) / np.maximum(size_N, 1)
    empty_N = np.abs(2 * probability_NHW.max((1, 2), initial=0) - 1)
    confidence_N: NDArray[np.float32] = np.where(size_N > 0, inside_N, empty_N).astype(np.float32)
    return confidence_N
