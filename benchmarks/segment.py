"""Segmentation on one machine: milliseconds of CPU per frame, by runtime and threads, and against a peer.

The peer is the attention-gate U-Net (Oktay et al. 2018, arXiv:1804.03999) with 64 channels at its top
level, on the 256 x 256 image itself, run by torch: what this product's first model was. Ours sees the
same image through its field of 128 x 128 pixels at 1 mm.

    python benchmarks/segment.py --json
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # torch's own name for it

from benchmarks.report import Goal, at_least, at_most, emit
from stages.batches import Display, Grid, Prepared, Rows
from stages.segment import checkpoint, runtime
from stages.segment.stage import Segment, SegmentOptions

BATCH = 32
REPEATS = 5
LEAST_RATIO = 20  # times less CPU than the peer
MOST_MS = 20  # CPU milliseconds a frame: segmentation's share of the stream's budget


def main() -> None:
    """Measure everything once and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    as_json = parser.parse_args().json
    results = runtimes() | stage_and_peer()
    results["weights"] = checkpoint.describe().digest
    emit("segment", results, goals(results), ("torch", "openvino", "numpy"), as_json=as_json)


def runtimes() -> dict[str, float]:
    """Every runtime at one and two threads, on the model's own input."""
    x_NCHW = field()
    results = {}
    for threads in (1, 2):
        for name in ("torch", "openvino"):
            infer = runtime.load(None, "cpu", threads, name)
            wall, cpu = milliseconds(lambda run=infer: run(x_NCHW), BATCH)
            results[f"{name}_{threads}_threads_wall_ms"] = wall
            results[f"{name}_{threads}_threads_cpu_ms"] = cpu
    return results


def stage_and_peer() -> dict[str, float]:
    """The whole stage on 256 x 256 images and the peer on the same, one thread."""
    with Segment(SegmentOptions()).open() as run:
        batch = prepared(field(), 256)
        ours = milliseconds(lambda: run(batch), BATCH)[1]
    torch.set_num_threads(1)
    peer = AttentionGateUNet(64).eval().to(memory_format=torch.channels_last)
    image = torch.randn(1, 1, 256, 256).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        theirs = milliseconds(lambda: peer(image), 1)[1]
    return {"stage_cpu_ms": ours, "peer_cpu_ms": theirs, "peer_over_stage": theirs / ours}


def goals(results: dict[str, float]) -> list[Goal]:
    """What was aimed for."""
    return [
        at_most("segment stage, one core", results["stage_cpu_ms"], "CPU ms/frame", MOST_MS),
        at_least("peer over segment stage", results["peer_over_stage"], "times", LEAST_RATIO),
    ]


def field() -> np.ndarray:
    """A batch of model input: smooth shapes with some noise."""
    size = checkpoint.describe().recipe.size
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(BATCH, 3, size // 16, size // 16)).repeat(16, 2).repeat(16, 3)
    return (coarse + 0.3 * rng.normal(size=coarse.shape)).astype(np.float32)


def milliseconds(call: Callable[[], object], frames: int) -> tuple[float, float]:
    """Wall and CPU time per frame, the least of several repeats after one to warm up."""
    call()
    walls, cpus = [], []
    for _ in range(REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls) / frames * 1e3, min(cpus) / frames * 1e3


def prepared(x_NCHW: np.ndarray, side: int) -> Prepared:
    """A batch of one series, as preprocessing makes it from square images of 0.5 mm pixels."""
    count, size = len(x_NCHW), x_NCHW.shape[-1]
    keys = tuple(i.to_bytes(32, "big") for i in range(count))
    rows = Rows(keys, (bytes(32),) * count, (b"",) * count, (b"",) * count)
    offset = (side - 1) / 2 - (size - 1)
    grid = Grid((side, side), Display(), (2.0, 2.0), (offset, offset), spacing_known=True)
    return Prepared(rows, x_NCHW, (grid,) * count)


class AttentionGateUNet(nn.Module):
    """The peer: five levels of double convolutions, additive attention gates on the skips."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.down = nn.ModuleList(double(a, b) for a, b in zip([1, *widths], widths, strict=False))
        steps = list(zip(widths[:0:-1], widths[-2::-1], strict=True))  # (1024, 512) ... (128, 64)
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in steps)
        self.gate_of_skip = nn.ModuleList(nn.Conv2d(b, b // 2, 1) for _, b in steps)
        self.gate_of_up = nn.ModuleList(nn.Conv2d(b, b // 2, 1) for _, b in steps)
        self.gate = nn.ModuleList(nn.Conv2d(b // 2, 1, 1) for _, b in steps)
        self.merge = nn.ModuleList(double(2 * b, b) for _, b in steps)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, H, W] to logits of the same shape."""
        skips = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        parts = zip(self.up, self.gate_of_skip, self.gate_of_up, self.gate, self.merge, strict=True)
        for up, of_skip, of_up, gate, merge in parts:
            x, skip = up(x), skips.pop()
            x = merge(torch.cat((x, skip * torch.sigmoid(gate(F.relu(of_skip(skip) + of_up(x))))), 1))
        return self.head(x)


def double(c_in: int, c_out: int) -> nn.Sequential:
    """Two normalised 3 x 3 convolutions."""
    first = (nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU())
    return nn.Sequential(*first, nn.Conv2d(c_out, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU())


if __name__ == "__main__":
    main()
