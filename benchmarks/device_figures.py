"""Steps of the device benchmark that measure in their own process: the product, the model, both at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from benchmarks import lwe as lwe_benchmark
from benchmarks.phantoms import decoded
from benchmarks.report import seconds
from stages.batches import Frames
from stages.encrypt.keys.owner import generate
from stages.encrypt.lwe import gemm, sampling
from stages.encrypt.lwe.parameters import LWE32
from stages.encrypt.lwe.quantise import quantise_rows, scale_for
from stages.encrypt.lwe.scheme import Encryptor
from stages.preprocess.stage import Preprocess
from stages.segment import checkpoint, runtime
from stages.segment.graphs import GraphedSegmenter
from stages.segment.options import SegmentOptions
from stages.segment.stage import Segment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.device_steps import Given

D: Final = 256
WORDS: Final = {"LWE32": (torch.int32, 1536), "LWE64": (torch.int64, 2560)}
CAPTURES: Final = 5  # models made ready, of six graphs each
REPLAYS: Final = 2_000


def lwe(given: Given) -> None:
    """Whether the product is exact, what is chosen, whether the bytes are the CPU's, what takes how long."""
    device = torch.device(given.device)
    for name, (word, n) in WORDS.items():
        began = time.perf_counter()
        given.note(**{f"{name} method": gemm.choose(device, n, word).value})
        given.note(**{f"{name} choosing, s": time.perf_counter() - began})
        words_kn, small_nd = gemm._extreme_operands(n, D, word)  # noqa: SLF001  # the proof itself
        exact = gemm._is_exact(device, words_kn, small_nd, 64 if given.toy else n)  # noqa: SLF001  # likewise
        given.note(**{f"{name} int8 exact": exact})
    given.note(kernels=_kernels(device))
    public = generate(LWE32, os.urandom(32), os.urandom(32))
    x_ND = _unit(8 if given.toy else 1024)
    given.note(parts_us=_parts(Encryptor(public, given.device), x_ND))
    if not given.toy:
        given.note(rates=lwe_benchmark.on_device(public, x_ND, given.device))


def segment(given: Given) -> None:
    """Frames a second of the model alone, then of the stage with all that follows the model on the CPU."""
    info = checkpoint.describe()
    shape = (info.model.in_channels, info.recipe.size, info.recipe.size)
    if given.device == "cuda":
        from benchmarks import segment_gpu  # noqa: PLC0415  # of no use without one

        given.note(peak_bf16_tflops=(peak := segment_gpu.peak_tflops()))
        gflop = 2 * segment_gpu.gmac_per_frame()
        for size in segment_gpu.BATCHES:
            given.note(**{f"batches of {size}": segment_gpu.of_batch(size, shape, gflop, peak)})
        given.note(largest_difference_to_cpu=segment_gpu.difference(shape))
    frames = _frames(4 if given.toy else 64)
    options = SegmentOptions(runtime="torch")
    began = time.perf_counter()
    with Preprocess().open() as prepare, Segment(options, given.device).open() as run:
        given.note(opening_s=time.perf_counter() - began)
        prepared = prepare(frames).kept
        given.note(preprocess_ms=1e3 * seconds(lambda: prepare(frames), least=0, repeats=3) / len(frames))
        given.note(stage_ms=1e3 * seconds(lambda: run(prepared), least=0, repeats=3) / len(frames))
    with Preprocess(device=given.device).open() as prepare:
        took = seconds(lambda: prepare(frames), least=0, repeats=3)
        given.note(preprocess_on_device_ms=1e3 * took / len(frames))
        same = np.mean(prepare(frames).kept.packed.field_MHW == prepared.packed.field_MHW)
        given.note(share_of_levels_equal_to_the_cpu=float(same))
    infer = runtime.load(None, given.device, 1, "torch", largest=(options.batch, *shape))
    at = range(0, len(frames), options.batch)
    parts = [prepared.packed.take(slice(one, one + options.batch)) for one in at]
    took = seconds(lambda: [infer(part) for part in parts], least=0, repeats=3)
    given.note(model_ms=1e3 * took / len(frames))


def together(given: Given) -> None:
    """Encryption beside the model: equal answers and flat memory; and how much of each rate is left."""
    pass_, encrypt = _passes(given), _blocks(given)
    replays = 5 if given.toy else REPLAYS
    alone = {"passes/s": _rate(pass_, replays // 4 + 1), "blocks/s": _rate(encrypt, replays // 20 + 1)}
    given.note(alone=alone)
    wanted = pass_()
    with _beside(encrypt) as beside:
        if given.device == "cuda":
            for _ in range(1 if given.toy else CAPTURES):
                _graphed(given)  # captures with all their warming up, while encryption goes on
        before = _memory(given)
        began = time.perf_counter()
        equal = all(all(map(np.array_equal, pass_(), wanted)) for _ in range(replays))
        took = time.perf_counter() - began
        blocks = beside()
    given.note(equal_answers=equal, memory_grew_bytes=_memory(given) - before)
    given.note(one_process={"passes/s": replays / took, "blocks/s": blocks})
    child = [sys.executable, "-c", _CHILD.format(device=given.device, toy=given.toy)]
    with subprocess.Popen(child, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()  # it is ready
        rate = _rate(pass_, replays)
        process.stdin.close()
        given.note(two_processes={"passes/s": rate, "blocks/s": float(process.stdout.readline())})
    if not equal:
        sys.exit("the model's answers changed beside encryption")


# Encrypts until its input ends, and prints how many blocks a second.
_CHILD: Final = """
import sys, threading
from types import SimpleNamespace
from benchmarks.device_figures import _beside, _blocks
encrypt = _blocks(SimpleNamespace(device={device!r}, toy={toy}))
encrypt()
with _beside(encrypt) as blocks:
    print("ready", flush=True)
    sys.stdin.read()
    print(blocks(), flush=True)
"""


def _passes(given: Given) -> Callable[[], tuple[Any, ...]]:
    """One pass of 32 slices, from host memory to host memory."""
    from benchmarks.segment_gpu import series  # noqa: PLC0415  # it trains, too

    packed = series(2 if given.toy else 32, (3, 128, 128))
    if given.device == "cuda":
        graphed = _graphed(given)
        return lambda: graphed(packed)
    infer = runtime.load(None, given.device, 1, "torch")
    return lambda: tuple(infer(packed)[:2])


def _graphed(given: Given) -> GraphedSegmenter:
    graphed = GraphedSegmenter(checkpoint.load()[0].frozen(), given.device)
    graphed.prepare((32, 3, 128, 128), levels=True)
    return graphed


def _blocks(given: Given) -> Callable[[], object]:
    """One block of 1,024 records."""
    encryptor = Encryptor(generate(LWE32, os.urandom(32), os.urandom(32)), given.device)
    x_ND = _unit(8 if given.toy else 1024)
    scale = scale_for(LWE32, D)
    plain_ND = quantise_rows(x_ND, scale)[0]
    return lambda: encryptor.encrypt(plain_ND, slot=0, scale=scale)


@contextmanager
def _beside(work: Callable[[], object]) -> Iterator[Callable[[], float]]:
    """Repeat the work in a thread; yields how many times a second it was done since the last question."""
    ended, done = threading.Event(), [0]

    def repeat() -> None:
        while not ended.is_set():
            work()
            done[0] += 1

    with ThreadPoolExecutor(1) as pool:
        began = time.perf_counter()
        repeated = pool.submit(repeat)
        try:
            yield lambda: done[0] / (time.perf_counter() - began)
        finally:
            ended.set()
        repeated.result()  # what went wrong there


def _rate(work: Callable[[], object], times: int) -> float:
    work()
    began = time.perf_counter()
    for _ in range(times):
        work()
    return times / (time.perf_counter() - began)


def _memory(given: Given) -> int:
    return torch.cuda.memory_allocated() if given.device == "cuda" else 0


def _kernels(device: torch.device) -> dict[str, str]:
    """Whether torch's int8 product is there and right at all, by the layout of the second operand."""
    a_mk = torch.randint(-128, 128, (64, 1536), dtype=torch.int8)
    b_kn = torch.randint(-gemm.SMALL, gemm.SMALL + 1, (1536, 256), dtype=torch.int8)
    wanted = (a_mk.double() @ b_kn.double()).to(torch.int32)
    found = {}
    for name, b in {"NN": b_kn.to(device), "NT": b_kn.T.contiguous().to(device).T}.items():
        try:
            right = torch.equal(torch._int_mm(a_mk.to(device), b).cpu(), wanted)  # noqa: SLF001  # the kernel
            found[name] = "exact" if right else "wrong"
        except RuntimeError as error:
            found[name] = str(error).splitlines()[0]
    return found


def _parts(encryptor: Encryptor, x_ND: np.ndarray) -> dict[str, float]:
    """Microseconds of a block's parts, each alone; what runs on the device is waited for."""
    n, device, key = LWE32.n, encryptor.device, os.urandom(32)
    octets = sampling.octets(key, 4, (D, n), device)
    R_Dn = sampling.cbd(octets)
    large = encryptor._key.rows(0, n)  # noqa: SLF001  # the prepared key
    C1_nD = gemm.product(large, R_Dn.T)
    wait: Callable[[], object] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    scale = scale_for(LWE32, D)
    works: dict[str, Callable[[], object]] = {
        "keystream": lambda: sampling.keystream(key, 4, D * n),
        "keystream to the device": lambda: (sampling.octets(key, 4, (D, n), device), wait()),
        "CBD": lambda: (sampling.cbd(octets), wait()),
        "product": lambda: (gemm.product(large, R_Dn.T), wait()),
        "copy back": C1_nD.cpu,
        "quantise": lambda: quantise_rows(x_ND, scale),
        "blank": lambda: encryptor.blank(D, len(x_ND)),
    }
    return {name: 1e6 * seconds(work, least=0.1, repeats=3) for name, work in works.items()}


def _unit(rows: int) -> np.ndarray:
    x_ND = np.random.default_rng(0).normal(size=(rows, D)).astype(np.float32)
    unit_ND: np.ndarray = x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)
    return unit_ND


def _frames(count: int) -> Frames:
    """One series of phantom slices."""
    from evaluation.phantom import Phantom  # noqa: PLC0415

    return decoded(Phantom().slices(count), count)
