"""The model on CUDA: bfloat16, channels last, one CUDA graph for each shape of batch.

A graph has one shape: batches are filled up to the next power of two, so that there are few graphs. Host
buffers are pinned. All work is on a stream of its own: waiting for an answer waits for nothing else.
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

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Captured:
    """One graph, what it reads and what it writes."""

    graph: torch.cuda.CUDAGraph
    x_NCHW: Tensor  # float32
    found: tuple[Tensor, ...]
    host_NCHW: Tensor  # pinned
    answer: tuple[Tensor, ...]  # pinned


def filled_up(shape: Shape) -> Shape:
    """The shape of the graph that serves batches of this shape: their number up to a power of two."""
    return 1 << max(shape[0] - 1, 0).bit_length(), *shape[1:]


def shapes_up_to(shape: Shape) -> tuple[Shape, ...]:
    """Of every graph that batches of at most this many rows need, the smallest first."""
    largest = filled_up(shape)[0]
    return tuple((1 << power, *shape[1:]) for power in range(largest.bit_length()))


class GraphedSegmenter:
    """A frozen segmenter that takes and gives NumPy arrays; not for two threads at once."""

    def __init__(self, segmenter: Segmenter, device: str) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # stub gap
        self._pool = torch.cuda.graph_pool_handle()
        self._segmenter = segmenter.to(device)
        # The network alone is narrow: what makes features of it stays in single precision.
        kind: dict[str, Any] = {"dtype": torch.bfloat16, "memory_format": torch.channels_last}
        segmenter.net.to(**kind).register_forward_pre_hook(lambda _, given: (given[0].to(**kind),))
        self._by_shape: dict[Shape, Captured] = {}

    @torch.inference_mode()
    def __call__(self, x_NCHW: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """[N, C, H, W] to what ``Segmenter`` gives, float32."""
        count = len(x_NCHW)
        one = self.captured(x_NCHW.shape)
        one.host_NCHW.numpy()[:count] = x_NCHW
        with torch.cuda.stream(self._stream):
            one.x_NCHW.copy_(one.host_NCHW, non_blocking=True)
            one.graph.replay()
            for host, found in zip(one.answer, one.found, strict=True):
                host.copy_(found, non_blocking=True)
        self._stream.synchronize()
        return tuple(host.numpy()[:count].copy() for host in one.answer)

    def prepare(self, shape: Shape) -> None:
        """Make every graph for batches of at most this many rows now, so that none waits for one later."""
        for one in shapes_up_to(shape):
            self.captured(one)

    def captured(self, shape: Shape) -> Captured:
        """The graph for batches of this shape, made where it is not there yet."""
        key = filled_up(shape)
        if key not in self._by_shape:
            self._by_shape[key] = self._capture(key)
        return self._by_shape[key]

    @torch.inference_mode()
    def _capture(self, shape: Shape) -> Captured:
        """Record one pass; rows that no batch fills stay what they were, zeros first.

        What the graphs of the pool give lies apart, since it is kept; what they share is used up in between.
        """
        x_NCHW = torch.zeros(shape, device=self._device)
        graph, found = capture(
            lambda: tuple(one.float() for one in self._segmenter(x_NCHW)),
            stream=self._stream,
            pool=self._pool,
        )
        answer = tuple(torch.zeros(one.shape, pin_memory=True) for one in found)
        return Captured(graph, x_NCHW, found, torch.zeros(shape, pin_memory=True), answer)
