"""One interface over what executes the model: x [N, C, H, W] to probability [N, H, W] and feature [N, D].

``torch`` runs on CPU and CUDA (there in bfloat16) and is the reference; ``openvino`` runs on the CPU, in
single precision, and agrees with it to rounding. ``auto`` is the faster: OpenVINO on the CPU.
The OpenVINO model is made from the torch module in memory through the frontend itself, because
``openvino.convert_model`` reports its use over the network.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from stages.segment import checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from stages.segment.features import Segmenter

Runtime = Literal["auto", "torch", "openvino"]
Infer = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]]


def load(weights: Path | None, device: str, threads: int, runtime: Runtime = "auto") -> Infer:
    """The model of a weights file (the shipped one when None) as a function. Raises WeightsError."""
    segmenter, _ = checkpoint.load(weights)
    segmenter.frozen()
    if device != "cpu" and runtime == "openvino":
        raise ValueError(f"the openvino runtime serves the CPU, not {device}: choose runtime auto or torch")
    if device == "cpu" and runtime != "torch":
        return with_openvino(segmenter, threads)
    return with_torch(segmenter, device, threads)


def with_torch(segmenter: Segmenter, device: str, threads: int) -> Infer:
    """A frozen model run by torch; ``threads`` counts for the CPU and is the process's setting."""
    if device == "cpu":
        torch.set_num_threads(threads)
    segmenter.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub gap

    def infer(x_NCHW: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        # A copy: batches from the object store are read-only, which torch.from_numpy refuses.
        x = torch.tensor(x_NCHW).to(device, non_blocking=True, memory_format=torch.channels_last)
        narrow = torch.autocast("cuda", torch.bfloat16) if device != "cpu" else nullcontext()
        with torch.inference_mode(), narrow:
            probability_NHW, feature_ND = segmenter(x)
        return probability_NHW.float().cpu().numpy(), feature_ND.float().cpu().numpy()

    return infer


def with_openvino(segmenter: Segmenter, threads: int) -> Infer:
    """A frozen model compiled by OpenVINO for the CPU, any batch and field size."""
    # Imported here: a CUDA worker has no use for it, and it takes longest of all imports.
    import openvino  # noqa: PLC0415
    from openvino.frontend import FrontEndManager  # noqa: PLC0415
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: PLC0415

    config = segmenter.net.config
    example = torch.zeros(2, config.in_channels, 8 * config.stride, 8 * config.stride)
    with warnings.catch_warnings():
        # torch deprecates tracing; OpenVINO's decoder for torch.export still breaks on torch 2.13.
        warnings.simplefilter("ignore", DeprecationWarning)
        decoder = TorchScriptPythonDecoder(segmenter, example_input=example)
    frontend = FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(decoder))
    model.reshape({0: [-1, config.in_channels, -1, -1]})
    options: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(model, "CPU", options)

    def infer(x_NCHW: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        result = compiled(np.ascontiguousarray(x_NCHW))
        return result[0].copy(), result[1].copy()  # the compiled model owns its output buffers

    return infer
