from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.encrypt import gemm
from stages.encrypt.gemm import Method

WORDS = np.array([0, 1, -1, 127, 128, -128, -129, 2**31 - 1, -(2**31), 0x7F7F7F7F, -0x7F7F7F80], np.int64)


def exact(K_kn: np.ndarray, small_nd: np.ndarray) -> np.ndarray:
    """K s mod 2**32 in Python ints."""
    return ((K_kn.astype(object) @ small_nd.astype(object)) % 2**32).astype(np.uint32)


def product(K_kn: np.ndarray, small_nd: np.ndarray, method: Method) -> np.ndarray:
    """The same by the module."""
    operand = gemm.prepare(torch.from_numpy(K_kn.astype(np.int32)), method)
    return gemm.product(operand, torch.from_numpy(small_nd.astype(np.int8))).numpy().view(np.uint32)


@pytest.mark.parametrize("method", list(Method))
@settings(max_examples=60, deadline=None)
@given(k=st.integers(0, 40), n=st.integers(1, 40), d=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
@example(k=1, n=1, d=1, seed=0)
@example(k=300, n=9, d=3, seed=1)  # more than one chunk
def test_products_are_exact_for_any_shape(method: Method, k: int, n: int, d: int, seed: int) -> None:
    """Both methods equal Python ints mod 2**32, whatever the shape."""
    rng = np.random.default_rng(seed)
    K_kn = rng.integers(-(2**31), 2**31, (k, n))
    K_kn[rng.random((k, n)) < 0.3] = rng.choice(WORDS)
    small_nd = rng.integers(-gemm.SMALL, gemm.SMALL + 1, (n, d))
    assert (product(K_kn, small_nd, method) == exact(K_kn, small_nd)).all()


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("small", [-64, -1, 1, 64])
def test_extreme_words_at_full_length(word: int, small: int) -> None:
    """1536 products of the same sign neither saturate nor lose a bit, by either method."""
    K_kn, small_nd = np.full((3, 1536), word), np.full((1536, 2), small)
    for method in Method:
        assert (product(K_kn, small_nd, method) == exact(K_kn, small_nd)).all()


def test_limbs_are_balanced_and_add_up() -> None:
    """K = sum of K_l 2**(8 l) mod 2**32 with every limb in [-128, 127]."""
    operand = gemm.prepare(torch.from_numpy(WORDS.astype(np.int32))[None, :], Method.INT8)
    limbs_4n = operand.parts.numpy()[0, :, : len(WORDS)].astype(object)
    assert ((sum(limbs_4n[i] * 256**i for i in range(4)) - WORDS) % 2**32 == 0).all()


def test_the_self_test_uses_extreme_limbs() -> None:
    """Its first words have limbs of 127 and -128 only, in every arrangement that saturates."""
    words = torch.tensor(gemm._EXTREME[:4], dtype=torch.int32)[:, None]
    limbs = gemm.prepare(words, Method.INT8).parts[:, :, 0].tolist()
    assert limbs == [[127] * 4, [-128] * 4, [-128, 127] * 2, [127, -128] * 2]


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
    assert (product(K_kn, small_nd, Method.INT8) == exact(K_kn, small_nd)).all()


@pytest.mark.parametrize(("k", "n", "d"), [(1, 1, 1), (5, 1536, 256), (7, 13, 3), (300, 24, 9)])
def test_the_kernel_only_sees_shapes_that_cuda_takes(
    k: int, n: int, d: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than 16 rows, inner dimension and columns multiples of 8, whatever the shape asked for."""
    kernel, seen = torch._int_mm, []

    def watched(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        seen.append((a.shape[0] > 16, a.shape[1] % 8, b.shape[1] % 8))
        return kernel(a, b)

    monkeypatch.setattr(torch, "_int_mm", watched)
    product(np.ones((k, n)), np.ones((n, d)), Method.INT8)
    assert set(seen) == {(True, 0, 0)}


def test_choose_takes_int8_when_it_is_exact() -> None:
    """With the exact kernel emulated, the self-test passes."""
    assert gemm.choose(torch.device("cpu"), 64) is Method.INT8


@pytest.mark.parametrize("fault", ["saturates", "off by one", "missing"])
def test_choose_falls_back_when_the_kernel_is_wrong(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert gemm.choose(torch.device("cpu"), 1536) is Method.FLOAT64
