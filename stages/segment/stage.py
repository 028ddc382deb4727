"""The segment stage: prepared slices in, masks on the stored grid, confidence and features out.

Confidence of a slice is the mean of |2p - 1| over its mask: 0 is a coin toss, 1 is certainty. Where the
mask is empty it is |2p - 1| at the pixel most like the structure, so that an empty slice can be unsure too.
It ranks slices; it is not calibrated. Masks are as the network gives them: what is stray in a stack is known
only where the stack is whole and its positions are at hand, in delivery (deliver/mend.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from stages.base import Reason, Reject, Split
from stages.batches import Prepared, Segmented
from stages.grid import Mask
from stages.preprocess.grid import mask_to_original
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
            levels=info.recipe.in_levels,
        )
        if options.flip_average:
            infer = flip_averaged(infer)

        def run(batch: Prepared) -> Split[Segmented]:
            shape = batch.packed.shape[1:]
            if shape != expected:
                raise checkpoint.WeightsError(
                    f"{info.path} was trained on input of shape {expected}, preprocessing gives "
                    f"{shape}: use its own preprocessing recipe or other weights"
                )
            probability_NHW = np.zeros((len(batch), *expected[1:]), np.float32)
            feature_ND = np.zeros((len(batch), info.feature_dim), np.float32)
            novelty_N = np.zeros(len(batch), np.float32)
            for lo in range(0, len(batch), options.batch):
                part = slice(lo, lo + options.batch)
                probability_NHW[part], feature_ND[part], novelty_N[part] = infer(batch.packed.take(part))
            return self.answered(batch, Inference(probability_NHW, feature_ND, novelty_N))

        yield run

    def answered(self, batch: Prepared, answer: Inference) -> Split[Segmented]:
        """What the stage gives where the model gives this answer."""
        probability_NHW, feature_ND, novelty_N = answer
        packed = batch.packed
        sound_M = np.isfinite(packed.slope_M) & np.isfinite(packed.intercept_M)
        if packed.field_MHW.dtype.kind == "f":
            sound_M &= np.isfinite(packed.field_MHW).all((1, 2))
        sound_N = (
            sound_M[packed.channels_NC].all(1)
            & np.isfinite(probability_NHW).all((1, 2))
            & (np.abs(np.linalg.norm(feature_ND, axis=1) - 1) < UNIT_TOLERANCE)  # False for NaN
        )
        kept = np.flatnonzero(sound_N).tolist()
        rows = batch.rows.take(kept)
        threshold = self.options.threshold
        probability_NHW = probability_NHW if sound_N.all() else probability_NHW[kept]
        grids = [batch.grids[i] for i in kept]
        masks = tuple(
            Mask.pack(mask_to_original(probability_HW, grid, threshold))
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


def confidence(probability_NHW: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """Mean |2p - 1| over the mask; where it is empty, |2p - 1| at the largest p. [N], 0..1."""
    return np.array(
        [_confidence(probability_HW, threshold) for probability_HW in probability_NHW], np.float32
    )


def _confidence(probability_HW: NDArray[np.float32], threshold: float) -> float:
    inside_P = probability_HW[probability_HW >= threshold]
    if not inside_P.size:
        inside_P = probability_HW.max(keepdims=True)
    return float(np.abs(2 * inside_P - 1).mean(dtype=np.float64))
