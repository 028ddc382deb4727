from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.encrypt.lwe import gemm
from stages.encrypt.lwe.gemm import Method

SHORT = [0, 1, -1, 127, 128, -128, -129, 2**31 - 1, -(2**31), 0x7F7F7F7F, -0x7F7F7F80]
LONG = [2**63 - 1, -(2**63), 2**32, -(2**32), 2**31, -(2**31) - 1, 0x7F7F7F7F7F7F7F7F, -0x7F7F7F7F7F7F7F80]
WORDS = {32: np.array(SHORT, np.int64), 64: np.array(SHORT + LONG, np.int64)}


def exact(K_kn: np.ndarray, small_nd: np.ndarray, bits: int) -> np.ndarray:
    """K s mod 2**bits in Python ints."""
    return ((K_kn.astype(object) @ small_nd.astype(object)) % 2**bits).astype(np.uint64)


def product(K_kn: np.ndarray, small_nd: np.ndarray, method: Method, bits: int = 32) -> np.ndarray:
    """The same by the module."""
    operand = gemm.prepare(torch.from_numpy(K_kn.astype(f"i{bits // 8}")), method)
    found_kd = gemm.product(operand, torch.from_numpy(small_nd.astype(np.int8)))
    assert found_kd.dtype == operand.word
    return found_kd.numpy().view(f"u{bits // 8}")


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("method", list(Method))
@settings(max_examples=60, deadline=None)
@given(k=st.integers(0, 40), n=st.integers(1, 40), d=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
@example(k=1, n=1, d=1, seed=0)
@example(k=300, n=9, d=3, seed=1)  # more than one chunk of rows
@example(k=2, n=3, d=1025, seed=2)  # and of columns
def test_products_are_exact_for_any_shape(
    bits: int, method: Method, k: int, n: int, d: int, seed: int
) -> None:
    """Both methods equal Python ints mod 2**32 and mod 2**64, whatever the shape."""
    rng = np.random.default_rng(seed)
    K_kn = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (k, n), np.int64)
    K_kn[rng.random((k, n)) < 0.3] = rng.choice(WORDS[bits])
    small_nd = rng.integers(-gemm.SMALL, gemm.SMALL + 1, (n, d))
    assert (product(K_kn, small_nd, method, bits) == exact(K_kn, small_nd, bits)).all()


@pytest.mark.parametrize(("bits", "word"), [(bits, word) for bits in WORDS for word in WORDS[bits]])
@pytest.mark.parametrize("small", [-64, -1, 1, 64])
def test_extreme_words_at_full_length(bits: int, word: int, small: int) -> None:
    """2560 products of the same sign neither saturate nor lose a bit, by either method."""
    K_kn, small_nd = np.full((3, 2560), word), np.full((2560, 2), small)
    for method in Method:
        assert (product(K_kn, small_nd, method, bits) == exact(K_kn[:, :1] * 2560, small_nd[:1], bits)).all()


@pytest.mark.parametrize(("method", "step"), [(Method.INT8, 8), (Method.FLOAT64, 32)])
@pytest.mark.parametrize("bits", [32, 64])
def test_limbs_are_balanced_and_add_up(method: Method, step: int, bits: int) -> None:
    """K = sum of K_l 2**(step l) mod q with every limb in [-2**(step - 1), 2**(step - 1))."""
    words = WORDS[bits]
    operand = gemm.prepare(torch.from_numpy(words.astype(f"i{bits // 8}"))[None, :], method)
    limbs_ln = operand.parts.numpy()[0, :, : len(words)].astype(np.int64).astype(object)
    assert len(limbs_ln) == bits // step
    assert ((sum(limbs_ln[i] * 2 ** (step * i) for i in range(bits // step)) - words) % 2**bits == 0).all()
    assert (-(2 ** (step - 1)) <= limbs_ln).all()
    assert (limbs_ln < 2 ** (step - 1)).all()


@pytest.mark.parametrize("bits", [32, 64])
def test_the_self_test_uses_extreme_limbs(bits: int) -> None:
    """Its first words have limbs of 127 and -128 only, in every arrangement that saturates."""
    words, _ = gemm._extreme_operands(1, 1, getattr(torch, f"int{bits}"))
    limbs = gemm.prepare(words[:4], Method.INT8).parts[:, :, 0].tolist()
    half = bits // 16
    assert limbs == [[127] * 2 * half, [-128] * 2 * half, [-128, 127] * half, [127, -128] * half]


def test_rows_of_an_operand_are_the_rows_of_its_product() -> None:
    """Slots are cut out of the prepared key without preparing again."""
    rng = np.random.default_rng(0)
    K_kn, small_nd = rng.integers(-(2**31), 2**31, (20, 16)), rng.integers(-1, 2, (16, 8))
    small = torch.from_numpy(small_nd.astype(np.int8))
    for method in Method:
        operand = gemm.prepare(torch.from_numpy(K_kn.astype(np.int32)), method)
        assert torch.equal(gemm.product(operand.rows(5, 9), small), gemm.product(operand, small)[5:9])


def test_a_small_operand_of_the_wrong_kind_is_refused() -> None:
    """A wider type or a wrong inner dimension never reaches the kernel."""
    operand = gemm.prepare(torch.zeros(2, 4, dtype=torch.int32), Method.INT8)
    for small in (torch.zeros(4, 1, dtype=torch.int16), torch.zeros(5, 1, dtype=torch.int8)):
        with pytest.raises(ValueError, match="int8"):
            gemm.product(operand, small)


@pytest.mark.parametrize("bad", [torch.zeros(2, 4), torch.zeros(1, 2**16 + 1, dtype=torch.int32)])
def test_a_large_operand_that_would_not_be_exact_is_refused(bad: torch.Tensor) -> None:
    """Words are integers, and an inner dimension never carries a sum beyond 2**53."""
    for method in Method:
        with pytest.raises(ValueError, match="large operand"):
            gemm.prepare(bad, method)


def saturating_int_mm(a_mk: torch.Tensor, b_kn: torch.Tensor) -> torch.Tensor:
    """What a CPU without VNNI computes: (a + 128) times b in pairs, saturated to 16 bits, then corrected."""
    a, b = a_mk.numpy().astype(np.int64) + 128, b_kn.numpy().astype(np.int64)
    pairs = a[:, 0::2, None] * b[None, 0::2] + a[:, 1::2, None] * b[None, 1::2]
    total = np.clip(pairs, -(2**15), 2**15 - 1).sum(1) - 128 * b.sum(0)
    return torch.from_numpy(total.astype(np.int32))


def test_the_operand_order_survives_a_saturating_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without VNNI our order stays exact and the other would not: that is why it is fixed."""
    rng = np.random.default_rng(0)
    K_kn, small_nd = rng.integers(-(2**31), 2**31, (33, 64)), rng.integers(-1, 2, (64, 16))
    limbs = gemm.prepare(torch.from_numpy(K_kn.astype(np.int32)), Method.INT8).parts[:, 0]
    small = torch.from_numpy(small_nd.astype(np.int8))
    assert not torch.equal(saturating_int_mm(small.T, limbs.T), torch._int_mm(limbs, small).T)
    monkeypatch.setattr(torch, "_int_mm", saturating_int_mm)
    assert (product(K_kn, small_nd, Method.INT8) == exact(K_kn, small_nd, 32)).all()


@pytest.mark.parametrize(("k", "n", "d"), [(1, 1, 1), (5, 1536, 256), (7, 13, 3), (300, 24, 9)])
def test_the_kernel_only_sees_shapes_that_cuda_takes(
    k: int, n: int, d: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than 16 rows, inner dimension and columns multiples of 8, both operands along the inner one."""
    kernel, seen = torch._int_mm, []

    def watched(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        along = a.is_contiguous() and b.T.is_contiguous()
        seen.append((a.shape[0] > 16, a.shape[1] % 8, b.shape[1] % 8, along))
        return kernel(a, b)

    monkeypatch.setattr(torch, "_int_mm", watched)
    for small_nd in (np.ones((n, d)), np.ones((d, n)).T):  # by row, and by column as encryption has it
        product(np.ones((k, n)), small_nd, Method.INT8)
    assert set(seen) == {(True, 0, 0, True)}


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("word", [torch.int32, torch.int64])
def test_choose_takes_the_faster_of_two_exact_methods(
    word: torch.dtype, method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where int8 passes its self-test, time decides: some CPUs have only a scalar kernel for it."""
    clock, honest = [0.0], gemm.product

    def timed(large: gemm.Operand, small_nd: torch.Tensor) -> torch.Tensor:
        clock[0] += 1 if large.method is method else 2
        return honest(large, small_nd)

    monkeypatch.setattr(gemm, "product", timed)
    monkeypatch.setattr(gemm, "perf_counter", lambda: clock[0])
    assert gemm.choose(torch.device("cpu"), 64, word) is method


def test_memory_between_operands_and_result_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows and features, no product of limbs has more than 1024 x 1024 entries."""
    kernel, seen = torch._int_mm, []

    def watched(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        seen.append((a.shape[0], b.shape[1]))
        return kernel(a, b)

    monkeypatch.setattr(torch, "_int_mm", watched)
    for bits in (32, 64):
        product(np.ones((700, 8)), np.ones((8, 4096)), Method.INT8, bits)
    assert max(rows for rows, _ in seen) == max(columns for _, columns in seen) == 1024


@pytest.mark.parametrize("by_row", [True, False])
def test_choose_proves_both_layouts_at_full_size(by_row: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A product that is wrong for one layout of the small operand only does not pass."""
    honest, rows = gemm.product, set()

    def wrong(large: gemm.Operand, small_nd: torch.Tensor) -> torch.Tensor:
        found = honest(large, small_nd)
        if large.method is Method.INT8:
            rows.add(len(large.parts))
            found[-1] += small_nd.is_contiguous() == by_row and len(found) > 1
        return found

    monkeypatch.setattr(gemm, "product", wrong)
    assert not gemm._is_exact(torch.device("cpu"), *gemm._extreme_operands(1536, 24, torch.int32), 1536)
    assert rows == {1, 1536}


def test_the_reference_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """FLOAT64 of the device under test vouches for nothing: both of its methods may be wrong alike."""
    honest, seen = gemm.product, []

    def watched(large: gemm.Operand, small_nd: torch.Tensor) -> torch.Tensor:
        seen.append((large.method, small_nd.device.type))
        return honest(large, small_nd)

    monkeypatch.setattr(gemm, "product", watched)
    meta = torch.device("meta")
    with pytest.raises((NotImplementedError, KeyError)):
        gemm._is_exact(meta, *gemm._extreme_operands(16, 8, torch.int32), 16)
    assert seen[0] == (Method.FLOAT64, "cpu")
    assert all(method is Method.INT8 for method, device in seen if device == "meta")


def test_on_cuda_exact_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """There float64 is slower on every device, and a clock would measure the launching of kernels."""
    monkeypatch.setattr(gemm, "_is_exact", lambda *_: True)
    monkeypatch.setattr(gemm, "_int8_is_slower", lambda *_: pytest.fail("measured"))
    assert gemm.choose(torch.device("cuda"), 1536) is Method.INT8


def test_a_device_that_fails_is_no_missing_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Falling back would hide it until the first block; a kernel that is not supported does fall back."""

    def fail(*_: object) -> bool:
        raise RuntimeError(message)

    monkeypatch.setattr(gemm, "_is_exact", fail)
    message = "CUDA error: an illegal memory access was encountered"
    with pytest.raises(RuntimeError, match="illegal memory access"):
        gemm.choose(torch.device("cuda"), 1536)
    message = "CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling cublasLtMatmul"
    assert gemm.choose(torch.device("cuda"), 1536) is Method.FLOAT64


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("word", "n"), [(torch.int32, 1536), (torch.int64, 2560)])
def test_a_gpu_multiplies_in_int8(word: torch.dtype, n: int) -> None:
    """Its kernel passes the proof, so that nothing falls back in silence."""
    assert gemm.choose(torch.device("cuda"), n, word) is Method.INT8


@pytest.mark.parametrize(("word", "n"), [(torch.int32, 1536), (torch.int64, 2560)])
@pytest.mark.parametrize("fault", ["saturates", "off by one", "missing"])
def test_choose_falls_back_when_the_kernel_is_wrong(
    fault: str, word: torch.dtype, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that is missing, or wrong in one bit or by saturation at 8 bits, is not used."""
    right = torch._int_mm

    def wrong(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if fault == "missing":
            raise RuntimeError("not implemented")
        if fault == "off by one":
            result = right(a, b)
            result[-1, -1] += a[-1, -1] & 1
            return result
        return right(a, b).clamp(-(2**15), 2**15 - 1)

    monkeypatch.setattr(torch, "_int_mm", wrong)
    monkeypatch.setattr(gemm, "perf_counter", lambda: 0.0)  # equally fast: only exactness decides
    assert gemm.choose(torch.device("cpu"), n, word) is Method.FLOAT64
