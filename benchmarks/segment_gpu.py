"""Segmentation on a GPU: frames per second by batch, share of the device's best, against a peer; training.

Frames are prepared slices in host memory, masks' probabilities and features come back to it. Device figures
leave those copies out. The peer gets 256 x 256 images, which the model sees on its smaller field.

    python -m benchmarks.segment_gpu --json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.arithmetic import gmac_per_frame
from benchmarks.peer_unet import AttentionGateUNet
from benchmarks.report import Goal, at_least, emit, seconds
from stages.packed import Packed
from stages.segment import checkpoint, runtime
from stages.segment.capture import WARM_UP, capture
from stages.segment.graphs import GraphedSegmenter, form_of
from training.dataset import Slices
from training.gradients import Gradients
from training.options import TrainOptions
from training.trainer import Trainer

BATCHES = (1, 8, 32, 128)
PEER_BATCHES = (1, 8, 32)
PEER_SIDE = 256
LEAST_FRAMES_PER_S = 5_800
PEAK_SIDE = 8192
STEPS = 20  # of training, an epoch
TRAINED = 32  # slices a step


def main() -> None:
    """Measure everything once and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    as_json = parser.parse_args().json
    if not torch.cuda.is_available():
        parser.error("there is no CUDA device")
    results = measure()
    emit("segment-gpu", results, goals(results), ("torch", "numpy"), as_json=as_json)


def goals(results: dict[str, Any]) -> list[Goal]:
    """What was aimed for."""
    best = max(one["frames_per_s"] for one in results["batches"].values())
    return [at_least("frames through the model", best, "frames/s", LEAST_FRAMES_PER_S)]


def measure() -> dict[str, Any]:
    """Every figure by its name."""
    info = checkpoint.describe()
    shape = (info.model.in_channels, info.recipe.size, info.recipe.size)
    gflop = 2 * gmac_per_frame()
    peak = peak_tflops()
    found: dict[str, Any] = {
        "weights": info.digest,
        "gmac_per_frame": gflop / 2,
        "peak_bf16_tflops": peak,
        "batches": {size: of_batch(size, shape, gflop, peak) for size in BATCHES},
        "peer": {size: peer(size) for size in PEER_BATCHES},
        "largest_difference_to_cpu": difference(shape),
        "training_slices_per_s": {
            "replayed": training(shape, launched=False),
            "launched": training(shape, launched=True),
        },
    }
    found["peer_over_model"] = {
        size: found["batches"][size]["device_frames_per_s"] / found["peer"][size] for size in PEER_BATCHES
    }
    return found


def of_batch(size: int, shape: tuple[int, ...], gflop: float, peak: float) -> dict[str, float]:
    """Frames per second from host memory to host memory and on the device alone; share of the peak."""
    segmenter, _ = checkpoint.load()
    graphed = GraphedSegmenter(segmenter.frozen(), "cuda")
    packed = series(size, shape)
    whole = size / seconds(lambda: graphed(packed), least=1.0)
    graph = graphed.captured(form_of(packed)).graph
    device = size / on_device(graph.replay)
    return {
        "frames_per_s": whole,
        "device_frames_per_s": device,
        "share_of_peak": device * gflop / 1e3 / peak,
    }


def peer(size: int) -> float:
    """Images per second on the device of the attention-gate U-Net, in the same precision and layout."""
    kind: dict[str, Any] = {"dtype": torch.bfloat16, "memory_format": torch.channels_last, "device": "cuda"}
    module = AttentionGateUNet(64).eval().requires_grad_(requires_grad=False).to(**kind)
    x_N1HW = torch.randn(size, 1, PEER_SIDE, PEER_SIDE).to(**kind)
    with torch.inference_mode():
        graph, _ = capture(lambda: module(x_N1HW))
        return size / on_device(graph.replay)


def training(shape: tuple[int, ...], *, launched: bool) -> float:
    """Slices per second of an epoch on random data, augmentation included."""
    x_NCHW = torch.from_numpy(slices(STEPS * TRAINED, shape))
    truth_N1HW = (x_NCHW[:, :1] > 1).float()
    data = Slices(x_NCHW, truth_N1HW, torch.zeros(len(x_NCHW), dtype=torch.int64), "")
    options = TrainOptions(batch=TRAINED, epochs=10_000)  # far from the end: squares of ``crop`` pixels
    trainer = Trainer(data, options, "cuda", checkpoint.describe().recipe)
    if launched:
        trainer.gradients = Gradients(trainer.net)
    return len(data) / seconds(trainer.run_epoch, least=0, repeats=5)


def difference(shape: tuple[int, ...]) -> dict[str, float]:
    """How far CUDA's answers are from the CPU's: probability per pixel, feature vector (one less cosine)."""
    packed = series(8, shape)
    cpu = runtime.load(None, "cpu", 1, "torch")(packed)
    cuda = runtime.load(None, "cuda", 1)(packed)
    cosine = (cpu.feature_ND * cuda.feature_ND).sum(1).min()
    return {
        "probability": float(np.abs(cpu.probability_NHW - cuda.probability_NHW).max()),
        "feature": float(1 - cosine),
    }


def peak_tflops() -> float:
    """Of a large matrix product in bfloat16."""
    a = torch.randn(PEAK_SIDE, PEAK_SIDE, device="cuda", dtype=torch.bfloat16)
    return 2 * PEAK_SIDE**3 / on_device(lambda: a @ a) / 1e12


def series(size: int, shape: tuple[int, ...]) -> Packed:
    """Random slices that follow each other, as the stream prepares them."""
    field_NHW = np.random.default_rng(0).integers(0, 256, (size, *shape[1:])).astype(np.uint8)
    ones_N = np.ones(size, np.float32)
    own_N = np.arange(size)
    channels_NC = np.stack((np.maximum(own_N - 1, 0), own_N, np.minimum(own_N + 1, size - 1)), 1)
    return Packed(field_NHW, ones_N / 64, -2 * ones_N, channels_NC)


def slices(size: int, shape: tuple[int, ...]) -> np.ndarray:
    """Random input."""
    return np.random.default_rng(0).normal(size=(size, *shape)).astype(np.float32)


def on_device(work: Callable[[], object], repeats: int = 20) -> float:
    """Median seconds between two events on the device."""
    took = []
    for number in range(repeats + WARM_UP):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        if number >= WARM_UP:
            took.append(start.elapsed_time(end) / 1e3)
    return median(took)


if __name__ == "__main__":
    main()
