from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.encrypt.keys import owner as owner_side
from stages.encrypt.keys.folder import OwnerKeys
from stages.encrypt.keys.owner import SecretKey
from stages.encrypt.lwe import reference, sampling
from stages.encrypt.lwe.errors import ForeignKeyError, HeaderError, PlaintextOverflowError, ShapeError
from stages.encrypt.lwe.gemm import Method
from stages.encrypt.lwe.parameters import LWE32, LWE64, ParameterError, Parameters
from stages.encrypt.lwe.quantise import SUM_BLOCKS, scale_for
from stages.encrypt.lwe.scheme import EncryptedBlock, Encryptor, add
from stages.encrypt.public.folder import PublicKeys

WIDE = 2**31  # a scale that lets every plaintext through
BOTH = pytest.mark.parametrize("toy", ["toy", "toy64"], indirect=True)
Fixed = Callable[[int], Callable[[int], bytes]]
Pair = tuple[Encryptor, SecretKey]


def as_words(matrix: reference.Matrix) -> np.ndarray:
    """Reference integers as words, which compare with words of any width."""
    return matrix.astype(np.uint64)


def hex_words(array: np.ndarray) -> str:
    """Little-endian words in hex."""
    return array.astype(array.dtype.newbyteorder("<")).tobytes().hex()


def digest(array: np.ndarray) -> str:
    """SHA-256 of little-endian words."""
    return hashlib.sha256(bytes.fromhex(hex_words(array))).hexdigest()


@BOTH
@settings(max_examples=60, deadline=None)
@given(data=st.data(), method=st.sampled_from(list(Method)))
def test_toy_blocks_equal_the_reference_bit_for_bit(
    toy: Parameters, data: st.DataObject, method: Method
) -> None:
    """Any key, plaintext, shape and slot gives exactly the words of the specification, and decrypts."""
    seed, seed_A, key = (data.draw(st.binary(min_size=32, max_size=32)) for _ in range(3))
    slot = data.draw(st.integers(0, toy.slots))
    N, D = data.draw(st.integers(0, toy.slots - slot)), data.draw(st.integers(1, 5))
    bound = toy.plaintext_bound
    values = st.integers(-bound, bound - 1) | st.sampled_from([-bound, bound - 1])
    X_ND = np.array(data.draw(st.lists(values, min_size=N * D, max_size=N * D)), np.int64).reshape(N, D)

    public = owner_side.generate(toy, seed, seed_A)
    block = Encryptor(public, randomness=lambda _: key, method=method).encrypt(X_ND, slot=slot, scale=WIDE)

    B, S = reference.keygen(toy, seed, seed_A)
    C1, C2 = reference.encrypt(toy, seed_A, B, X_ND.T.astype(object), slot=slot, key=key)
    assert (public.B_nl == as_words(B)).all()
    assert (block.head_Dn == as_words(C1)).all()
    assert (block.columns_ND == as_words(C2).T).all()
    secret = owner_side.expand_secret(toy, seed, public.key_id)
    assert (secret.S_nl.numpy() == S).all()
    assert (owner_side.decrypt(secret, block.header, block.head_Dn, block.columns_ND) == X_ND).all()


@BOTH
def test_toy_golden_vectors(toy: Parameters, vectors: dict[str, Any]) -> None:
    """Key, blocks and sum equal the committed known answers."""
    golden = vectors[toy.name.lower()]
    public = owner_side.generate(toy, bytes.fromhex(vectors["seed"]), bytes.fromhex(vectors["seed_A"]))
    assert hex_words(public.B_nl) == golden["B"]
    keys = iter(bytes.fromhex(key) for key in vectors["block_keys"])
    encryptor = Encryptor(public, randomness=lambda _: next(keys))
    for expected in golden["blocks"]:
        block = encryptor.encrypt(np.array(golden["X"]).T, slot=golden["slot"], scale=WIDE)
        assert hex_words(block.head_Dn) == expected["C1"]
        assert hex_words(block.columns_ND.T) == expected["C2"]
    second = bytes.fromhex(vectors["block_keys"][1])
    small = Encryptor(public, randomness=lambda _: second).encrypt(
        np.array(golden["X_small"]).T, slot=golden["slot"], scale=200
    )
    total = add(small, small)
    assert hex_words(total.head_Dn) == golden["sum"]["C1"]
    assert hex_words(total.columns_ND.T) == golden["sum"]["C2"]


@pytest.mark.parametrize(
    "parameters", [LWE32, pytest.param(LWE64, marks=pytest.mark.slow)], ids=["LWE32", "LWE64"]
)
def test_full_size_golden_vectors(parameters: Parameters, vectors: dict[str, Any]) -> None:
    """The real sets equal the pure-int reference: matrix, key columns, head and record columns."""
    seed_A, golden = bytes.fromhex(vectors["seed_A"]), vectors[parameters.name]
    public = owner_side.generate(parameters, bytes.fromhex(vectors["seed"]), seed_A)
    shape = (parameters.n, parameters.n)
    A = sampling.uniform(seed_A, sampling.Stream.MATRIX, shape, parameters.q_bits).numpy()
    key = bytes.fromhex(vectors["block_keys"][0])
    for method in Method:
        encryptor = Encryptor(public, randomness=lambda _: key, method=method)
        block = encryptor.encrypt(np.array(golden["X"]).T, slot=golden["slot"], scale=WIDE)
        found = {"A": A, "B01": public.B_nl[:, :2], "C1": block.head_Dn, "C2": block.columns_ND.T}
        assert {name: digest(words) for name, words in found.items()} == golden["sha256"]


def test_both_products_give_the_same_full_block(public: PublicKeys, fixed: Fixed) -> None:
    """int8 limbs and float64 agree on 1024 records of 16 features."""
    X_ND = np.random.default_rng(0).integers(-80, 81, (1024, 16))
    int8, float64 = (
        Encryptor(public.lwe, randomness=fixed(7), method=method).encrypt(X_ND, slot=0, scale=2000)
        for method in Method
    )
    assert (int8.head_Dn == float64.head_Dn).all()
    assert (int8.columns_ND == float64.columns_ND).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["LWE32", "LWE64"])
@pytest.mark.parametrize("N", [1, 3, 64, 1024])
def test_gpu_bytes_are_cpu_bytes(
    public: PublicKeys, exact_pair: Pair, fixed: Fixed, name: str, N: int
) -> None:
    """The same code on CUDA gives the same block."""
    key = public.lwe if name == "LWE32" else exact_pair[0].public
    X_ND = np.random.default_rng(0).integers(-80, 81, (N, 256))
    cpu, gpu = (
        Encryptor(key, device, fixed(7)).encrypt(X_ND, slot=0, scale=2000) for device in ("cpu", "cuda")
    )
    assert (cpu.head_Dn == gpu.head_Dn).all()
    assert (cpu.columns_ND == gpu.columns_ND).all()


def test_the_same_record_never_encrypts_the_same_way_twice(encryptor: Encryptor) -> None:
    """Randomness is fresh per block: about 2**-32 of the words of two blocks agree."""
    one, two = (encryptor.encrypt(np.ones((4, 8), np.int64), slot=0, scale=10) for _ in range(2))
    assert (one.head_Dn == two.head_Dn).sum() < 3
    assert (one.columns_ND == two.columns_ND).sum() < 2


def test_the_same_feature_in_two_slots_differs(encryptor: Encryptor) -> None:
    """Records of one block have different columns even when they are equal."""
    block = encryptor.encrypt(np.ones((2, 64), np.int64), slot=5, scale=10)
    assert (block.columns_ND[0] == block.columns_ND[1]).sum() < 2


@pytest.mark.parametrize("edge", [2**17, -(2**17) - 1, 2**40])
def test_a_plaintext_out_of_range_is_refused(encryptor: Encryptor, edge: int) -> None:
    """One step beyond the signed range is an overflow, not a wrapped number."""
    with pytest.raises(PlaintextOverflowError, match="outside"):
        encryptor.encrypt(np.array([[0, edge]]), slot=0, scale=WIDE)


def test_a_record_longer_than_its_scale_is_refused(encryptor: Encryptor) -> None:
    """The header's promise about norms, which scores rely on, is checked where it is made."""
    encryptor.encrypt(np.array([[100, 0]]), slot=0, scale=99)
    with pytest.raises(PlaintextOverflowError, match="scale of 99"):
        encryptor.encrypt(np.array([[101, 0]]), slot=0, scale=99)


@pytest.mark.parametrize("plain", [np.ones(3, np.int64), np.ones((1, 3)), np.ones((1, 1, 3), np.int64)])
def test_plaintexts_of_the_wrong_shape_or_type_are_refused(encryptor: Encryptor, plain: np.ndarray) -> None:
    """Only integer matrices are plaintexts."""
    with pytest.raises(ShapeError):
        encryptor.encrypt(plain, slot=0, scale=10)


@pytest.mark.parametrize(("N", "slot"), [(1, 1024), (2, 1023), (1025, 0), (1, -1)])
def test_slots_outside_the_key_are_refused(encryptor: Encryptor, N: int, slot: int) -> None:
    """Records that reach beyond the key's columns are never cut off."""
    with pytest.raises(HeaderError):
        encryptor.encrypt(np.zeros((N, 1), np.int64), slot=slot, scale=10)


def test_sums_decrypt_up_to_the_stated_number_of_terms(encryptor: Encryptor, owner: OwnerKeys) -> None:
    """Four blocks may be added, the fifth is refused."""
    X_ND = np.random.default_rng(2).integers(-5, 6, (20, 7))
    fresh = encryptor.encrypt(X_ND, slot=100, scale=20)
    two = add(fresh, encryptor.encrypt(2 * X_ND, slot=100, scale=20))
    four = add(two, two)
    assert four.header.terms == LWE32.max_terms
    assert (owner_side.decrypt(owner.lwe, four.header, four.head_Dn, four.columns_ND) == 6 * X_ND).all()
    with pytest.raises(PlaintextOverflowError, match="LWE32 allows 4"):
        add(four, fresh)


def test_exact_sums_stop_where_the_scale_says(exact_pair: Pair) -> None:
    """LWE64 at its default scale: at least 16,384 blocks may be added, and none that may overflow."""
    scale = scale_for(LWE64, 3)
    block = exact_pair[0].encrypt(np.array([[1, 2, 3]]), slot=0, scale=scale)
    most = (LWE64.plaintext_bound - 1) // block.header.norm_bound
    assert most >= SUM_BLOCKS
    full = add(replace(block, header=replace(block.header, terms=most - 1)), block)
    with pytest.raises(PlaintextOverflowError, match="may overflow"):
        add(full, block)


def test_exact_sums_stop_at_a_million(exact_pair: Pair) -> None:
    """LWE64: at a scale for it the millionth block is added, and the next is refused for its noise."""
    scale = scale_for(LWE64, 3, terms=10**6)
    block = exact_pair[0].encrypt(np.array([[1, 2, 3]]), slot=0, scale=scale)
    full = add(replace(block, header=replace(block.header, terms=10**6 - 1)), block)
    with pytest.raises(PlaintextOverflowError, match="LWE64 allows 1000000"):
        add(full, block)


def test_sums_that_may_overflow_are_refused(encryptor: Encryptor) -> None:
    """The bound on norms adds up and must stay inside the plaintext range."""
    block = encryptor.encrypt(np.array([[40_000]]), slot=0, scale=70_000)
    with pytest.raises(PlaintextOverflowError, match="may overflow"):
        add(block, block)


@pytest.mark.parametrize("change", [{"slot": 1}, {"scale": 11}])
def test_blocks_that_differ_are_not_added(encryptor: Encryptor, change: dict[str, int]) -> None:
    """Only blocks of one shape, scale and place add up to something."""
    block = encryptor.encrypt(np.ones((2, 3), np.int64), slot=0, scale=10)
    other = EncryptedBlock(replace(block.header, **change), block.head_Dn, block.columns_ND)
    with pytest.raises(ShapeError):
        add(block, other)


def test_blocks_of_two_keys_are_not_added(encryptor: Encryptor) -> None:
    """A sum across keys could never be opened."""
    block = encryptor.encrypt(np.ones((2, 3), np.int64), slot=0, scale=10)
    with pytest.raises(ForeignKeyError):
        add(block, EncryptedBlock(replace(block.header, key_id=bytes(32)), block.head_Dn, block.columns_ND))


def test_weak_parameters_make_no_key_and_take_no_block(public: PublicKeys) -> None:
    """Nothing is generated or encrypted under parameters that are not in the table."""
    weak = replace(LWE32, n=1024)
    with pytest.raises(ParameterError, match="not in the table"):
        owner_side.generate(weak, bytes(32), bytes(32))
    with pytest.raises(ParameterError, match="not in the table"):
        Encryptor(replace(public.lwe, parameters=weak))
