"""Loss and gradients of a training step: computed directly on the CPU, replayed from CUDA graphs on a GPU.

On CUDA in bfloat16, which needs no loss scaling; one graph for each shape of batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from stages.segment.capture import capture
from training.loss import segmentation_loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from stages.segment.model import AttentionUNet


class Gradients:
    """Gradients of a network's loss, computed kernel by kernel on the network's device."""

    def __init__(self, net: AttentionUNet, *, compiled: bool = False) -> None:
        self.net = net
        self._device = next(net.parameters()).device.type
        self._run = torch.compile(net, dynamic=False) if compiled else net

    def of_weights(self, x_NCHW: Tensor, truth_N1HW: Tensor) -> Tensor:
        """The loss, a scalar; the gradients lie in the parameters."""
        self.net.zero_grad(set_to_none=True)
        with self._narrow():
            loss = segmentation_loss(self._run(x_NCHW), truth_N1HW)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return loss.detach()

    def of_input(self, x_NCHW: Tensor, truth_N1HW: Tensor) -> Tensor:
        """The gradient by the input, of its shape; in evaluation mode, so that no statistics change."""
        self.net.eval()
        at = x_NCHW.detach().requires_grad_()
        with self._narrow():
            loss = segmentation_loss(self.net(at), truth_N1HW)
        (slope,) = torch.autograd.grad(loss, at)
        self.net.train()
        return slope

    def _narrow(self) -> torch.autocast:
        """A graph may not keep the copies of weights that autocast makes from one pass for the next."""
        on_gpu = self._device == "cuda"
        return torch.autocast(self._device, torch.bfloat16, enabled=on_gpu, cache_enabled=False)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One graph with its input and output tensors."""

    graph: torch.cuda.CUDAGraph
    x_NCHW: Tensor
    truth_N1HW: Tensor
    found: Tensor
    gradients: tuple[Tensor | None, ...]  # of the parameters


class GraphedGradients(Gradients):
    """Gradients on CUDA. The next call of the same kind and shape overwrites the returned tensors."""

    def __init__(self, net: AttentionUNet, *, compiled: bool) -> None:
        super().__init__(net, compiled=compiled)
        self._recorded: dict[tuple[str, torch.Size], Recorded] = {}

    def of_weights(self, x_NCHW: Tensor, truth_N1HW: Tensor) -> Tensor:
        """See Gradients."""
        one = self._replay("weights", super().of_weights, x_NCHW, truth_N1HW)
        for parameter, gradient in zip(self.net.parameters(), one.gradients, strict=True):
            parameter.grad = gradient
        return one.found

    def of_input(self, x_NCHW: Tensor, truth_N1HW: Tensor) -> Tensor:
        """See Gradients."""
        return self._replay("input", super().of_input, x_NCHW, truth_N1HW).found

    def _replay(
        self, kind: str, work: Callable[[Tensor, Tensor], Tensor], x_NCHW: Tensor, truth_N1HW: Tensor
    ) -> Recorded:
        key = kind, x_NCHW.shape
        if key not in self._recorded:
            self._recorded[key] = self._record(work, x_NCHW, truth_N1HW)
        one = self._recorded[key]
        one.x_NCHW.copy_(x_NCHW)
        one.truth_N1HW.copy_(truth_N1HW)
        one.graph.replay()
        return one

    def _record(
        self, work: Callable[[Tensor, Tensor], Tensor], x_NCHW: Tensor, truth_N1HW: Tensor
    ) -> Recorded:
        x_NCHW, truth_N1HW = x_NCHW.clone(), truth_N1HW.clone()
        # Statistics of the normalisation: warming up is no step.
        graph, found = capture(lambda: work(x_NCHW, truth_N1HW), self.net.buffers())
        gradients = tuple(parameter.grad for parameter in self.net.parameters())
        return Recorded(graph, x_NCHW, truth_N1HW, found, gradients)
