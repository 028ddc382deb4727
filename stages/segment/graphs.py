"""The model on CUDA: bfloat16, channels last, one CUDA graph for each form of batch.

A graph has one form: batches are filled up to the next power of two, so that there are few graphs. A slice
crosses the bus once, as the bytes that it holds, and the device makes the network's channels of it. Host
buffers are pinned. All work is on a stream of its own: waiting for an answer waits for nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from stages.packed import Packed
from stages.segment.capture import capture

if TYPE_CHECKING:
    from stages.segment.features import Segmenter

Shape = tuple[int, ...]
Input = tuple[Tensor, Tensor, Tensor, Tensor]  # as in Packed


class Form(NamedTuple):
    """What a graph is made for."""

    rows: int
    fields: int
    channels: int
    height: int
    width: int
    levels: bool  # else float32

    def zeros(self, **kind: Any) -> Input:
        """Tensors of this form; ``kind`` is their device, or that they are pinned."""
        dtype = torch.uint8 if self.levels else torch.float32
        return (
            torch.zeros((self.fields, self.height, self.width), dtype=dtype, **kind),
            torch.zeros(self.fields, **kind),
            torch.zeros(self.fields, **kind),
            torch.zeros((self.rows, self.channels), dtype=torch.int64, **kind),
        )


class FromPacked(nn.Module):
    """A segmenter of packed slices: makes its input where they are."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(
        self, field_MHW: Tensor, slope_M: Tensor, intercept_M: Tensor, channels_NC: Tensor
    ) -> tuple[Tensor, ...]:
        """What the segmenter gives for ``Packed.unpacked``, float32."""
        slope_NC11, intercept_NC11 = (one[channels_NC][..., None, None] for one in (slope_M, intercept_M))
        x_NCHW = field_MHW[channels_NC].float() * slope_NC11 + intercept_NC11
        return tuple(one.float() for one in self.segmenter(x_NCHW))


@dataclass(frozen=True, slots=True)
class Captured:
    """One graph, what it reads and what it writes."""

    graph: torch.cuda.CUDAGraph
    given: Input
    found: tuple[Tensor, ...]
    host: Input  # pinned
    answer: tuple[Tensor, ...]  # pinned


def form_of(packed: Packed) -> Form:
    """The form of the graph that serves a batch: rows up to a power of two, and the fields that they see.

    Slices that follow each other see two fields more than they are, else each channel may be a field.
    """
    rows, channels, height, width = packed.shape
    filled = 1 << max(rows - 1, 0).bit_length()
    fields = filled + 2 if len(packed.field_MHW) <= filled + 2 else filled * channels
    return Form(filled, fields, channels, height, width, packed.field_MHW.dtype == np.uint8)


def forms_up_to(shape: Shape, *, levels: bool) -> tuple[Form, ...]:
    """Of every graph that series in batches of at most ``shape`` [N, C, H, W] need, the smallest first."""
    rows, channels, height, width = shape
    powers = range(max(rows - 1, 0).bit_length() + 1)
    return tuple(Form(1 << one, (1 << one) + 2, channels, height, width, levels) for one in powers)


class GraphedSegmenter:
    """A frozen segmenter that takes and gives NumPy arrays; not for two threads at once."""

    def __init__(self, segmenter: Segmenter, device: str) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # stub gap
        self._pool = torch.cuda.graph_pool_handle()
        self._run = FromPacked(segmenter.to(device))
        # The network alone is narrow: what makes features of it stays in single precision.
        kind: dict[str, Any] = {"dtype": torch.bfloat16, "memory_format": torch.channels_last}
        segmenter.net.to(**kind).register_forward_pre_hook(lambda _, given: (given[0].to(**kind),))
        self._by_form: dict[Form, Captured] = {}

    @torch.inference_mode()
    def __call__(self, packed: Packed) -> tuple[np.ndarray, ...]:
        """What ``Segmenter`` gives, float32."""
        count = packed.shape[0]
        one = self.captured(form_of(packed))
        arrays: tuple[np.ndarray, ...] = packed
        with torch.cuda.stream(self._stream):
            for values, host, given in zip(arrays, one.host, one.given, strict=True):
                host.numpy()[: len(values)] = values
                given.copy_(host, non_blocking=True)
            one.graph.replay()
            for host, found in zip(one.answer, one.found, strict=True):
                host.copy_(found, non_blocking=True)
        self._stream.synchronize()
        return tuple(host.numpy()[:count].copy() for host in one.answer)

    def prepare(self, shape: Shape, *, levels: bool) -> None:
        """Make every graph for batches of at most this many rows now, so that none waits for one later."""
        for form in forms_up_to(shape, levels=levels):
            self.captured(form)

    def captured(self, form: Form) -> Captured:
        """The graph for batches of this form, made where it is not there yet."""
        if form not in self._by_form:
            self._by_form[form] = self._capture(form)
        return self._by_form[form]

    @torch.inference_mode()
    def _capture(self, form: Form) -> Captured:
        """Record one pass; rows that no batch fills stay what they were, zeros first.

        What the graphs of the pool give lies apart, since it is kept; what they share is used up in between.
        """
        given = form.zeros(device=self._device)
        graph, found = capture(lambda: self._run(*given), stream=self._stream, pool=self._pool)
        answer = tuple(torch.zeros(one.shape, pin_memory=True) for one in found)
        return Captured(graph, given, found, form.zeros(pin_memory=True), answer)
