"""One interface over what executes the model: packed slices to probability, feature and novelty.

``torch`` runs on CPU and CUDA (there in bfloat16, see graphs.py) and is the reference; ``openvino`` runs on
the CPU, in single precision, and agrees with it to rounding; ``openvino-int8`` runs the quantised artefact
(see int8.py). ``auto`` is the fastest there is: torch on CUDA, on the CPU int8 where a sound artefact lies
ready, else ``openvino``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stages.packed import Packed
from stages.segment import checkpoint, int8
from stages.segment.export import to_openvino
from stages.segment.graphs import GraphedSegmenter
from stages.segment.options import Runtime
from stages.segment.unreported import unreported

if TYPE_CHECKING:
    from pathlib import Path

    from stages.segment.features import Segmenter


class Inference(NamedTuple):
    """Of a batch of slices."""

    probability_NHW: NDArray[np.float32]
    feature_ND: NDArray[np.float32]
    novelty_N: NDArray[np.float32]  # see novelty.py: above 1 is out of distribution, NaN is unknown


Infer = Callable[[Packed], Inference]


def load(
    weights: Path | None,
    device: str,
    threads: int,
    runtime: Runtime = "auto",
    artefacts: Path | None = None,
    largest: tuple[int, ...] | None = None,
    *,
    levels: bool = True,
) -> Infer:
    """The model of a weights file (the shipped one when None) as a function.

    On CUDA it is made ready for batches up to the ``largest`` [N, C, H, W], of 8-bit ``levels`` or else of
    float32; for others when they come. Raises WeightsError, and ArtefactError where int8 is asked for by name
    and has no sound artefact.
    """
    segmenter, info = checkpoint.load(weights)
    segmenter.frozen()
    if device != "cpu" and runtime.startswith("openvino"):
        raise ValueError(f"the {runtime} runtime serves the CPU, not {device}: choose runtime auto or torch")
    if device != "cpu":
        graphed = GraphedSegmenter(segmenter, device)
        if largest is not None:
            graphed.prepare(largest, levels=levels)
        return lambda packed: Inference(*graphed(packed))
    if runtime == "torch":
        return with_torch(segmenter, threads)
    if runtime != "openvino":
        try:
            return with_openvino(int8.read(info, artefacts)[0], threads)
        except int8.ArtefactError:
            if runtime == "openvino-int8":
                raise
    return with_openvino(to_openvino(segmenter), threads)


def with_torch(segmenter: Segmenter, threads: int) -> Infer:
    """A frozen model run by torch on the CPU; ``threads`` is the process's setting."""
    torch.set_num_threads(threads)
    segmenter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub gap

    def infer(packed: Packed) -> Inference:
        x = torch.from_numpy(packed.unpacked()).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            return Inference(*(one.numpy() for one in segmenter(x)))

    return infer


def with_openvino(model: Any, threads: int) -> Infer:
    """An ``openvino.Model`` of a segmenter, run on the CPU."""
    run = compiled(model, threads)

    def infer(packed: Packed) -> Inference:
        result = run(packed.unpacked())
        return Inference(*(result[i].copy() for i in range(3)))  # the compiled model owns its output buffers

    return infer


def compiled(model: Any, threads: int) -> Any:
    """An ``openvino.CompiledModel`` for the CPU."""
    options: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # of what is not quantised
    }
    return unreported("openvino").Core().compile_model(model, "CPU", options)


def flip_averaged(infer: Infer) -> Infer:
    """The probability averaged with that of the slice's left-right mirror image; the features as they are."""

    def both(packed: Packed) -> Inference:
        answer = infer(packed)
        mirrored = packed._replace(field_MHW=packed.field_MHW[..., ::-1])
        mirrored_NHW = infer(mirrored).probability_NHW[..., ::-1]
        return answer._replace(probability_NHW=np.float32(0.5) * (answer.probability_NHW + mirrored_NHW))

    return both
