"""The frozen model as an OpenVINO model: from the torch module in memory, through the frontend itself.

``openvino.convert_model`` would do the same and report its use over the network; see unreported.py.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

from stages.segment.unreported import unreported

if TYPE_CHECKING:
    from stages.segment.features import Segmenter


def to_openvino(segmenter: Segmenter) -> Any:
    """The ``openvino.Model`` of a frozen segmenter, single precision, any batch and field size."""
    config = segmenter.net.config
    example = torch.zeros(2, config.in_channels, 8 * config.stride, 8 * config.stride)
    return traced(segmenter, example, [-1, config.in_channels, -1, -1])


def traced(module: torch.nn.Module, example_NCHW: torch.Tensor, shape: list[int]) -> Any:
    """Any evaluation-mode module of one input, as it runs on the example; -1 in ``shape`` is any length."""
    # Imported here: a CUDA worker has no use for it, and it takes longest of all imports.
    unreported("openvino")
    from openvino.frontend import FrontEndManager  # noqa: PLC0415
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: PLC0415

    with warnings.catch_warnings():
        # torch deprecates tracing; OpenVINO's decoder for torch.export still breaks on torch 2.13.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Checking the trace would trace twice more and import torch.distributed: two thirds of the time.
        # That both runtimes answer the same is tested, on other input than the example.
        decoder = TorchScriptPythonDecoder(
            module, example_input=example_NCHW, trace_kwargs={"check_trace": False}
        )
    frontend = FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(decoder))
    model.reshape({0: shape})
    return model
