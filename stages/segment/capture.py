"""CUDA graphs: work captured once, replayed with one launch (PyTorch documentation, "CUDA Graphs").

A pass over a small network is hundreds of short kernels, and the host needs longer to launch them than the
device to run them. What is captured reads and writes the same memory at every replay.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")
WARM_UP = 3  # passes before the capture: libraries choose their kernels and allocate
_ONE_AT_A_TIME = Lock()  # a process has one capture under way


def capture(
    work: Callable[[], T],
    unchanged: Iterable[torch.Tensor] = (),
    stream: torch.cuda.Stream | None = None,
    pool: Any = None,
) -> tuple[torch.cuda.CUDAGraph, T]:
    """The graph of ``work``, and the tensors that a replay writes. Tensors in ``unchanged`` stay as they are.

    Warmed up and captured on ``stream``, by default one of its own: what a library keeps for each stream, as
    cuBLAS its workspace, is then shared with no graph of another stream. Graphs of one ``pool`` share the
    memory between their first and last kernel, so they must never be replayed at the same time.
    Other threads may use the device meanwhile.
    """
    kept = [(tensor, tensor.clone()) for tensor in unchanged]
    with _ONE_AT_A_TIME:
        here = torch.cuda.current_stream()
        side = stream or torch.cuda.Stream()  # type: ignore[no-untyped-call]  # stub gap
        side.wait_stream(here)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                work()
        here.wait_stream(side)
        for tensor, before in kept:
            tensor.copy_(before)
        side.wait_stream(here)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=side, capture_error_mode="thread_local"):
            found = work()
        here.wait_stream(side)
    return graph, found
