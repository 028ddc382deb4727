from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.packed import Packed
from stages.segment import runtime
from stages.segment.options import Runtime

X = Packed.of(np.random.default_rng(0).normal(size=(5, 3, 32, 32)).astype(np.float32))


def test_openvino_equals_torch(tiny_weights: Path) -> None:
    """Both runtimes give the same probabilities and features to rounding."""
    torch_p, torch_f, _ = runtime.load(tiny_weights, "cpu", 1, "torch")(X)
    openvino_p, openvino_f, _ = runtime.load(tiny_weights, "cpu", 1, "openvino")(X)
    np.testing.assert_allclose(openvino_p, torch_p, atol=2e-5)
    np.testing.assert_allclose(openvino_f, torch_f, atol=2e-4)


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_batches_of_any_size(tiny_weights: Path, name: Runtime) -> None:
    """A row's answer does not depend on its company; what is given, read-only, stays as it is."""
    for values in X:
        values.flags.writeable = False
    infer = runtime.load(tiny_weights, "cpu", 1, name)
    whole_p, whole_f, _ = infer(X)
    assert (whole_p.shape, whole_f.shape) == ((5, 32, 32), (5, 16))
    one_p, one_f, _ = infer(X.take(slice(3, 4)))
    np.testing.assert_allclose(one_p[0], whole_p[3], atol=2e-5)
    np.testing.assert_allclose(one_f[0], whole_f[3], atol=2e-4)


def test_earlier_answers_are_not_overwritten(tiny_weights: Path) -> None:
    """An answer belongs to the caller, whatever the runtime computes next."""
    infer = runtime.load(tiny_weights, "cpu", 1, "openvino")
    first = infer(X)[0]
    kept = first.copy()
    infer(X._replace(slope_M=-X.slope_M))
    np.testing.assert_array_equal(first, kept)


def test_nothing_is_reported_over_the_network(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither loading nor running opens a connection or resolves a name."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr("openvino_telemetry.Telemetry.__init__", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    runtime.load(tiny_weights, "cpu", 1, "openvino")(X)


def test_openvino_on_cuda_is_a_contradiction(tiny_weights: Path) -> None:
    """The combination is named, with what to choose instead."""
    with pytest.raises(ValueError, match="choose runtime auto or torch"):
        runtime.load(tiny_weights, "cuda", 1, "openvino")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(tiny_weights: Path) -> None:
    """bfloat16 on the GPU gives the same answer to its precision."""
    cpu_p, cpu_f, _ = runtime.load(tiny_weights, "cpu", 1, "torch")(X)
    cuda_p, cuda_f, _ = runtime.load(tiny_weights, "cuda", 1)(X)
    np.testing.assert_allclose(cuda_p, cpu_p, atol=0.05)
    assert (np.sum(cuda_f * cpu_f, 1) > 0.99).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_answers_do_not_depend_on_what_was_asked_before(tiny_weights: Path) -> None:
    """Batches that share a graph leave nothing in each other, whatever their sizes and order."""
    infer = runtime.load(tiny_weights, "cuda", 1)
    alone = [runtime.load(tiny_weights, "cuda", 1)(X.take(slice(n))) for n in (1, 3, 4)]
    again = [infer(X.take(slice(n))) for n in (4, 3, 1, 3, 4)]
    for wanted, found in zip((alone[2], alone[1], alone[0], alone[1], alone[2]), again, strict=True):
        for one, other in zip(wanted, found, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.parametrize(("name", "other"), [("torch", "with_openvino"), ("openvino", "with_torch")])
def test_the_runtime_that_is_named_runs(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, name: Runtime, other: str
) -> None:
    """Their answers are alike, so only what is called tells them apart."""
    monkeypatch.delattr(runtime, other)
    assert len(runtime.load(tiny_weights, "cpu", 1, name)(X).feature_ND) == X.shape[0]


def test_flip_average_is_the_mean_of_both_views(tiny_weights: Path) -> None:
    """Mirrored input gives the mirrored probability; features are those of the slice as it is."""
    infer = runtime.load(tiny_weights, "cpu", 1, "torch")
    averaged = runtime.flip_averaged(infer)
    p, f, _ = averaged(X)
    mirrored = X._replace(field_MHW=X.field_MHW[..., ::-1])
    np.testing.assert_allclose(p, (infer(X)[0] + infer(mirrored)[0][..., ::-1]) / 2, atol=1e-6)
    np.testing.assert_allclose(averaged(mirrored)[0], p[..., ::-1], atol=1e-6)
    np.testing.assert_array_equal(f, infer(X)[1])
