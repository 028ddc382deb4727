"""Segmentation on one machine: frames per second, CPU time per frame, against a peer and the machine's best.

Whole means decoded 256 x 256 frames to masks on that grid: preprocessing, model, features, mask. Two cores
are two processes of one thread each, as the stream replicates the stage. CPU milliseconds are counted per
process, so they tell what the code costs whoever else uses the machine; wall-clock figures do not.

    python -m benchmarks.segment --json
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.arithmetic import gmac_per_frame
from benchmarks.peer_unet import AttentionGateUNet
from benchmarks.phantoms import decoded
from benchmarks.report import Goal, at_least, at_most, emit
from evaluation.phantom import Phantom
from stages.packed import Packed
from stages.preprocess.stage import Preprocess
from stages.segment import checkpoint, export, int8, runtime
from stages.segment.options import Runtime, SegmentOptions
from stages.segment.stage import Segment
from training.calibrate import phantom_slices

BATCH = 32
REPEATS = 5
SECONDS = 10.0  # of each throughput measurement
SIDE = 256
LEAST_RATIO = 20  # times less CPU than the peer in the same runtime
LEAST_FRAMES_PER_S = 116  # two cores, int8, pre- and post-processing included
MOST_MS = 20  # CPU milliseconds a frame in single precision: segmentation's share of the stream's budget
NAMES: tuple[Runtime, ...] = ("torch", "openvino", "openvino-int8")


def main() -> None:
    """Measure everything once and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    as_json = parser.parse_args().json
    recipe = checkpoint.describe().recipe
    with tempfile.TemporaryDirectory() as made:
        artefacts = Path(made)
        int8.quantise(None, *phantom_slices(recipe), artefacts)
        results: dict[str, Any] = {"weights": checkpoint.describe().digest}
        results["model"] = {name: model_ms(name, artefacts) for name in NAMES}
        results["whole"] = {name: whole(name, artefacts) for name in NAMES[1:]}
    results["peer"] = peer()
    results["peak"] = peak()
    results["ratio"] = {
        name: results["peer"][name] / results["model"][name]["cpu_ms"]
        for name in ("openvino", "openvino-int8")
    }
    results["share_of_peak"] = shares(results)
    packages = ("torch", "openvino", "nncf", "numpy")
    emit("segment", results, goals(results), packages, as_json=as_json)


def goals(results: dict[str, Any]) -> list[Goal]:
    """What was aimed for."""
    whole_int8 = results["whole"]["openvino-int8"]
    return [
        at_least("whole, two cores, int8", whole_int8["frames_per_s"], "frames/s", LEAST_FRAMES_PER_S),
        at_most("whole, single precision", results["whole"]["openvino"]["cpu_ms"], "CPU ms/frame", MOST_MS),
        at_least("peer over model, single precision", results["ratio"]["openvino"], "times", LEAST_RATIO),
        at_least("peer over model, int8", results["ratio"]["openvino-int8"], "times", LEAST_RATIO),
    ]


def model_ms(name: Runtime, artefacts: Path) -> dict[str, float]:
    """The model alone on one thread, a full batch."""
    infer = runtime.load(None, "cpu", 1, name, artefacts)
    packed = Packed.of(field())
    wall, cpu = milliseconds(lambda: infer(packed), BATCH)
    return {"wall_ms": wall, "cpu_ms": cpu}


def whole(name: Runtime, artefacts: Path) -> dict[str, float]:
    """Frames per second of two processes together, and CPU milliseconds per frame."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(2)
    with context.Pool(2, initializer=_share, initargs=(ready,)) as pool:
        done = pool.starmap(_stream, [(name, artefacts)] * 2, chunksize=1)
    frames = sum(one[0] for one in done)
    cpu_ms = 1e3 * sum(one[2] for one in done) / frames
    return {
        "frames_per_s": sum(one[0] / one[1] for one in done),
        "cpu_ms": cpu_ms,
        "frames_per_s_of_two_free_cores": 2e3 / cpu_ms,
    }


def _share(ready: Any) -> None:
    """Both processes begin together."""
    globals()["READY"] = ready


def _stream(name: Runtime, artefacts: Path) -> tuple[int, float, float]:
    """One process: how many frames in how many seconds, wall and CPU."""
    batch = decoded(Phantom(size=SIDE).slices(BATCH), BATCH)
    options = SegmentOptions(runtime=name, artefacts=artefacts)
    with Preprocess().open() as prepare, Segment(options).open() as segment:
        count = 0
        segment(prepare(batch).kept)
        globals()["READY"].wait()
        wall, cpu = time.perf_counter(), time.process_time()
        while time.perf_counter() - wall < SECONDS:
            count += len(segment(prepare(batch).kept).kept)
        return count, time.perf_counter() - wall, time.process_time() - cpu


def peer() -> dict[str, float]:
    """CPU milliseconds per 256 x 256 image of the attention-gate U-Net, one thread, by runtime."""
    module = AttentionGateUNet(64).eval().requires_grad_(requires_grad=False)
    image = np.random.default_rng(0).normal(size=(1, 1, SIDE, SIDE)).astype(np.float32)
    shape = [1, 1, SIDE, SIDE]
    exact = export.traced(module, torch.from_numpy(image), shape)
    narrow = int8.quantised(exact.clone(), np.repeat(image, 2, 0))
    torch.set_num_threads(1)
    with torch.inference_mode():
        results = {"torch": milliseconds(lambda: module(torch.from_numpy(image)), 1)[1]}
    for name, model in (("openvino", exact), ("openvino-int8", narrow)):
        run = runtime.compiled(model, 1)
        results[name] = milliseconds(lambda run=run: run(image), 1)[1]
    return results


def peak(n: int = 1024) -> dict[str, float]:
    """The best matrix product of one thread, 1e9 multiply-adds per CPU second."""
    a = np.random.default_rng(0).normal(size=(n, n)).astype(np.float32)
    linear = torch.nn.Linear(n, n).eval().requires_grad_(requires_grad=False)
    exact = export.traced(linear, torch.from_numpy(a), [-1, n])
    narrow = int8.quantised(exact.clone(), a[:64])
    found = {}
    with threadpool_limits(1):
        found["numpy"] = n**3 / milliseconds(lambda: a @ a, 1)[1] / 1e6
    for name, model in (("openvino", exact), ("int8", narrow)):
        run = runtime.compiled(model, 1)
        found[name] = n**3 / milliseconds(lambda run=run: run(a), 1)[1] / 1e6
    return {"fp32": max(found["numpy"], found["openvino"]), "int8": found["int8"]}


def shares(results: dict[str, Any]) -> dict[str, float]:
    """Multiply-adds per CPU second of the model over those of the dense product, by precision.

    Above 1 in int8 without VNNI: there the runtime's dense product is slower than its convolutions, and the
    share says nothing of the machine.
    """
    gmac = gmac_per_frame()
    kinds = {"fp32": "openvino", "int8": "openvino-int8"}
    found = {k: gmac / results["model"][n]["cpu_ms"] * 1e3 / results["peak"][k] for k, n in kinds.items()}
    return {"gmac_per_frame": gmac, **found}


def field() -> np.ndarray:
    """A batch of model input: smooth shapes with some noise."""
    size = checkpoint.describe().recipe.size
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(BATCH, 3, size // 16, size // 16)).repeat(16, 2).repeat(16, 3)
    return (coarse + 0.3 * rng.normal(size=coarse.shape)).astype(np.float32)


def milliseconds(call: Callable[[], object], count: int) -> tuple[float, float]:
    """Wall and CPU time per frame, the least of several repeats after one to warm up."""
    call()
    walls, cpus = [], []
    for _ in range(REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls) / count * 1e3, min(cpus) / count * 1e3


if __name__ == "__main__":
    main()
