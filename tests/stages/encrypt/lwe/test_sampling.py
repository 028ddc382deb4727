from __future__ import annotations

import ast
import os
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.encrypt.keys import owner
from stages.encrypt.keys.folder import new_keys
from stages.encrypt.lwe import reference, sampling, scheme
from stages.encrypt.lwe.parameters import Parameters

SOURCE = Path(scheme.__file__).parent
EVERY_BYTE = torch.arange(256, dtype=torch.int32).to(torch.uint8)

# NIST SP 800-38A, F.5.5 CTR-AES256.Encrypt: key, initial counter, then keystream = input xor output.
CTR_KEY = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
CTR_COUNTER = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
CTR_PLAIN = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
CTR_CIPHER = bytes.fromhex(
    "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
    "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
)


def test_nist_counter_mode_known_answer() -> None:
    """The counter mode under the keystream is SP 800-38A's CTR-AES256."""
    stream = sampling.counter_mode(CTR_KEY, CTR_COUNTER, len(CTR_PLAIN))
    assert bytes(a ^ b for a, b in zip(stream, CTR_PLAIN, strict=True)) == CTR_CIPHER


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1000])
@pytest.mark.parametrize("label", list(sampling.Stream))
def test_keystream_equals_the_reference(label: int, count: int) -> None:
    """Counter mode equals AES of explicit counter blocks, for every label."""
    assert sampling.keystream(CTR_KEY, label, count).tobytes() == reference.stream(CTR_KEY, label, count)


def test_labels_equal_the_reference_and_are_distinct() -> None:
    """Every purpose has its own stream, numbered as in the specification."""
    names = [reference.A_LABEL, reference.S_LABEL, reference.E_LABEL]
    names += [reference.R_LABEL, reference.E1_LABEL, reference.E2_LABEL]
    assert [int(label) for label in sampling.Stream] == names
    assert len(set(names)) == len(names)


def test_cbd_over_every_byte() -> None:
    """CBD(1) is -1, 0, 1 with weights 1, 2, 1."""
    assert Counter(sampling.cbd(EVERY_BYTE).tolist()) == {-1: 64, 0: 128, 1: 64}


@pytest.mark.parametrize("bits", range(1, 7))
def test_tu_over_every_byte(bits: int) -> None:
    """TU(b) is symmetric, flat inside, half as likely at both ends, with the variance we state."""
    histogram = Counter(sampling.tu(EVERY_BYTE, bits).tolist())
    unit = 256 // 2 ** (bits + 1)
    assert histogram == {v: unit // (1 + (abs(v) == 2**bits)) for v in range(-(2**bits), 2**bits + 1)}
    variance = sum(v * v * k for v, k in histogram.items()) / 256
    assert variance == (4 ** (bits + 1) - 1) / 12 + 0.25


def test_wide_tu_over_every_input() -> None:
    """TU(16) over all 2^18 values of its low bits: symmetric, flat, half as likely at both ends."""
    b = 16
    values, counts = np.unique(
        sampling.tu(torch.arange(2 ** (b + 2), dtype=torch.int32), b), return_counts=True
    )
    assert values.tolist() == list(range(-(2**b), 2**b + 1))
    assert counts[[0, -1]].tolist() == [1, 1]
    assert (counts[1:-1] == 2).all()
    variance = float((values.astype(float) ** 2 * counts).sum()) / 2 ** (b + 2)
    assert variance == pytest.approx((4 ** (b + 1) - 1) / 12 + 0.25, rel=1e-12)


def test_wide_tu_ignores_the_bits_above() -> None:
    """Of each word only the low b + 2 bits count, the sign bit included among the rest."""
    low = torch.tensor([0, 1, 2**17, 2**18 - 1], dtype=torch.int32)
    for high in (2**18, 2**30, -(2**31)):
        assert torch.equal(sampling.tu(low | high, 16), sampling.tu(low, 16))


@pytest.mark.parametrize("bits", [0, 7, 16])
def test_tu_refuses_what_does_not_fit_a_byte(bits: int) -> None:
    """One byte a sample reaches b = 6 and no further."""
    with pytest.raises(ValueError, match="one byte a sample"):
        sampling.tu(EVERY_BYTE, bits)


@pytest.mark.parametrize("bits", [0, 29])
def test_tu_refuses_what_does_not_fit_a_word(bits: int) -> None:
    """Four bytes a sample reach b = 28."""
    with pytest.raises(ValueError, match="four bytes a sample"):
        sampling.tu(torch.zeros(1, dtype=torch.int32), bits)


@pytest.mark.parametrize("bits", [32, 64])
def test_matrices_equal_the_reference(bits: int) -> None:
    """Uniform words, CBD and TU matrices are read from their streams row by row."""
    words = sampling.uniform(CTR_KEY, 1, (5, 7), bits).numpy().view(f"u{bits // 8}")
    assert (words == reference.uniform(CTR_KEY, 1, 5, 7, 2**bits)).all()
    octets = sampling.octets(CTR_KEY, 3, (5, 7))
    assert (sampling.cbd(octets).numpy() == reference.cbd(CTR_KEY, 3, 5, 7)).all()
    for b in (4, 6, 7, 16, 28):
        assert (sampling.noise(CTR_KEY, 3, (5, 7), b).numpy() == reference.tu(CTR_KEY, 3, 5, 7, b)).all()


# Whatever torch, NumPy or Python offer that draws numbers, seeds a generator or holds its state.
BANNED = {"Generator", "RandomState", "SystemRandom", "SeedSequence", "default_rng", "manual_seed"}
BANNED |= {"default_generator", "get_rng_state", "set_rng_state", "initial_seed", "random", "randbytes"}
BANNED |= {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "random_"}
BANNED |= {"bernoulli", "multinomial", "poisson", "binomial", "normal", "exponential", "geometric", "cauchy"}
BANNED |= {"log_normal", "dropout", "uniform_", "choice", "shuffle", "integers", "standard_normal"}
TORCH = ("rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "bernoulli")
TORCH += ("normal", "multinomial", "poisson", "binomial", "dropout", "manual_seed", "Generator")
IN_PLACE = (
    "random_",
    "normal_",
    "uniform_",
    "bernoulli_",
    "exponential_",
    "cauchy_",
    "geometric_",
    "log_normal_",
)
NUMPY = ("default_rng", "randint", "rand", "randn", "random", "normal", "choice", "bytes", "seed")


def named(source: str) -> set[str]:
    """The banned names that a source uses as attributes, or imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {part for one in node.names for part in one.name.split(".")}
            found |= set((getattr(node, "module", None) or "").split("."))
    return {name for name in found if {name, name.rstrip("_")} & BANNED}


@pytest.mark.parametrize(
    "source",
    [
        "torch.randn(3)",
        "x.normal_()",
        "np.random.default_rng(0)",
        "from torch import bernoulli",
        "import random",
        "from numpy.random import Generator",
        "torch.nn.functional.dropout(x)",
        "g = torch.Generator(); g.manual_seed(0)",
    ],
)
def test_the_scan_sees_a_statistical_generator(source: str) -> None:
    """The scan below is not blind."""
    assert named(source)


@pytest.mark.parametrize("file", sorted(SOURCE.glob("*.py")), ids=lambda file: file.name)
def test_no_statistical_generator_is_named_in_the_source(file: Path) -> None:
    """No file of stages/encrypt names a torch, NumPy or Python generator."""
    assert not named(file.read_text(encoding="utf-8"))


def test_everything_works_with_every_statistical_generator_broken(
    toys: dict[str, Parameters], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing secret can come from torch, NumPy or Python: with their generators raising, all still runs."""

    def broken(*_: object, **__: object) -> None:
        raise AssertionError("a statistical generator was used")

    for name in TORCH:
        monkeypatch.setattr(torch, name, broken)
    for name in IN_PLACE:
        monkeypatch.setattr(torch.Tensor, name, broken)
    for name in NUMPY:
        monkeypatch.setattr(np.random, name, broken)
    for name in ("random", "getrandbits", "randbytes", "randrange"):
        monkeypatch.setattr(random, name, broken)
    state = torch.get_rng_state()
    for toy in toys.values():
        public = owner.generate(toy, bytes(32), bytes(32))
        encryptor = scheme.Encryptor(public)
        X_ND = np.ones((2, 3), np.int64)
        block = encryptor.encrypt(X_ND, slot=0, scale=100, blank=encryptor.blank(3, 2))
        secret = owner.expand_secret(toy, bytes(32), public.key_id)
        assert (owner.decrypt(secret, block.header, block.head_Dn, block.columns_ND) == X_ND).all()
    assert torch.equal(torch.get_rng_state(), state)


def test_the_seeds_of_new_keys_come_from_the_operating_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new owner's master seed and a site's secret are 32 bytes of os.urandom each."""
    asked: list[int] = []
    honest = os.urandom

    def watched(count: int) -> bytes:
        asked.append(count)
        return honest(count)

    monkeypatch.setattr(os, "urandom", watched)
    new_keys(tmp_path / "keys", None)
    assert asked.count(32) >= 2  # master seed, site secret
