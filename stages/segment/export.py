"""The frozen model as an OpenVINO model: from the torch module in memory, through the frontend itself.

``openvino.convert_model`` would do the same and report its use over the network.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from stages.segment.features import Segmenter


def to_openvino(segmenter: Segmenter) -> Any:
    """The ``openvino.Model`` of a frozen segmenter, single precision, any batch and field size."""
    # Imported here: a CUDA worker has no use for it, and it takes longest of all imports.
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
    return model
