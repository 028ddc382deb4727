"""The model on CUDA: bfloat16, channels last, one CUDA graph for each size of batch.

A graph has one shape: batches are filled up to the next power of two, so that there are few graphs. Host
buffers are pinned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from stages.segment.capture import capture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stages.segment.features import Segmenter


@dataclass(frozen=True, slots=True)
class Captured:
    """One graph, what it reads and what it writes."""

    graph: torch.cuda.CUDAGraph
    x_NCHW: Tensor  # float32
    found: tuple[Tensor, ...]
    host_NCHW: Tensor  # pinned
    answer: tuple[Tensor, ...]  # pinned


class GraphedSegmenter:
    """A frozen segmenter that takes and gives NumPy arrays; not for two threads at once."""

    def __init__(self, segmenter: Segmenter, device: str) -> None:
        self._device = device
        self._segmenter = segmenter.to(device)
        # The network alone is narrow: what makes features of it stays in single precision.
        kind: dict[str, Any] = {"dtype": torch.bfloat16, "memory_format": torch.channels_last}
        segmenter.net.to(**kind).register_forward_pre_hook(lambda _, given: (given[0].to(**kind),))
        self._by_size: dict[int, Captured] = {}

    @torch.inference_mode()
    def __call__(self, x_NCHW: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """[N, C, H, W] to what ``Segmenter`` gives, float32."""
        count = len(x_NCHW)
        one = self.captured(x_NCHW.shape)
        one.host_NCHW.numpy()[:count] = x_NCHW
        one.x_NCHW.copy_(one.host_NCHW, non_blocking=True)
        one.graph.replay()
        for host, found in zip(one.answer, one.found, strict=True):
            host.copy_(found, non_blocking=True)
        torch.cuda.current_stream(self._device).synchronize()
        return tuple(host.numpy()[:count].copy() for host in one.answer)

    def captured(self, shape: tuple[int, ...]) -> Captured:
        """The graph for batches of this shape, made when it is first asked for."""
        size = 1 << max(shape[0] - 1, 0).bit_length()
        if size not in self._by_size:
            self._by_size[size] = self._capture((size, *shape[1:]))
        return self._by_size[size]

    @torch.inference_mode()
    def _capture(self, shape: tuple[int, ...]) -> Captured:
        """Record one pass; rows that no batch fills stay what they were, zeros first."""
        x_NCHW = torch.zeros(shape, device=self._device)
        graph, found = capture(lambda: tuple(one.float() for one in self._segmenter(x_NCHW)))
        answer = tuple(torch.zeros(one.shape, pin_memory=True) for one in found)
        return Captured(graph, x_NCHW, found, torch.zeros(shape, pin_memory=True), answer)
