from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.encrypt.keys import owner as owner_side
from stages.encrypt.keys.folder import OwnerKeys
from stages.encrypt.keys.owner import SecretKey
from stages.encrypt.lwe import reference, search
from stages.encrypt.lwe.errors import ShapeError, ZeroWeightsError
from stages.encrypt.lwe.parameters import LWE32, LWE64, Parameters
from stages.encrypt.lwe.quantise import quantise_rows, rounding_slack, scale_for, weight_scale_for
from stages.encrypt.lwe.scheme import EncryptedBlock, Encryptor
from stages.encrypt.lwe.search import quantise_query, score_block
from stages.encrypt.lwe.wire import Header

BOTH = pytest.mark.parametrize("toy", ["toy", "toy64"], indirect=True)
Pair = tuple[Encryptor, SecretKey]


def unit_rows(count: int, dimensions: int, seed: int) -> np.ndarray:
    """Random unit vectors, float32 as features are."""
    x_ND = np.random.default_rng(seed).normal(size=(count, dimensions))
    return (x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)).astype(np.float32)


def encrypted(encryptor: Encryptor, x_ND: np.ndarray, slot: int = 0) -> tuple[np.ndarray, EncryptedBlock]:
    """The quantised rows and their block."""
    scale = scale_for(encryptor.public.parameters, x_ND.shape[1])
    X_ND, fits_N = quantise_rows(x_ND, scale)
    assert fits_N.all()
    return X_ND, encryptor.encrypt(X_ND, slot=slot, scale=scale)


@BOTH
@pytest.mark.parametrize("wide", [False, True])
@settings(max_examples=40, deadline=None)
@given(N=st.integers(0, 8), D=st.integers(1, 30), seed=st.integers(0, 2**32 - 1))
def test_answers_equal_the_reference_bit_for_bit(
    toy: Parameters, wide: bool, N: int, D: int, seed: int
) -> None:
    """(w C1, w C2) is exact mod q for any words, and for weights of 32 bits or as wide as a word."""
    rng = np.random.default_rng(seed)
    head_Dn = rng.integers(0, 2**toy.q_bits, (D, toy.n), toy.word)
    columns_ND = rng.integers(0, 2**toy.q_bits, (N, D), toy.word)
    bits = toy.q_bits if wide else 32
    weights_D = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), D, f"i{bits // 8}")
    answer = score_block(Header(toy, bytes(32), D, 1, 0, N), head_Dn, columns_ND, weights_D)
    head, scores = reference.score(
        toy, head_Dn.astype(object), columns_ND.T.astype(object), weights_D.astype(object)
    )
    assert answer.head_n.dtype == answer.scores_N.dtype == toy.word
    assert (answer.head_n == head).all()
    assert (answer.scores_N == scores).all()


@BOTH
def test_golden_answer(toy: Parameters, vectors: dict[str, Any]) -> None:
    """The committed known answer, from the blocks of the committed known answer."""
    golden = vectors[toy.name.lower()]
    public = owner_side.generate(toy, bytes.fromhex(vectors["seed"]), bytes.fromhex(vectors["seed_A"]))
    key = bytes.fromhex(vectors["block_keys"][1])
    X_ND = np.array(golden["X_small"]).T
    block = Encryptor(public, randomness=lambda _: key).encrypt(X_ND, slot=golden["slot"], scale=200)
    weights_D = np.array(golden["weights"], np.int32)
    answer = score_block(block.header, block.head_Dn, block.columns_ND, weights_D)
    assert answer.head_n.astype(toy.word).tobytes().hex() == golden["answer"]["head"]
    assert answer.scores_N.astype(toy.word).tobytes().hex() == golden["answer"]["scores"]
    secret = owner_side.expand_secret(toy, bytes.fromhex(vectors["seed"]), public.key_id)
    assert (
        np.abs(owner_side._open_sums(secret, block.header, answer, weights_D) - X_ND @ weights_D).max() <= 1
    )


@pytest.mark.parametrize(("N", "D", "slot"), [(1024, 256, 0), (1, 256, 1023), (50, 128, 7), (50, 512, 900)])
def test_scores_are_right_within_the_noise(
    encryptor: Encryptor, owner: OwnerKeys, N: int, D: int, slot: int
) -> None:
    """Every opened score is w . x within seven standard deviations of the noise of a score."""
    X_ND, block = encrypted(encryptor, unit_rows(N, D, 3), slot)
    weights_D = quantise_query(unit_rows(1, D, 4)[0])
    answer = score_block(block.header, block.head_Dn, block.columns_ND, weights_D)
    sums_N = owner_side._open_sums(owner.lwe, block.header, answer, weights_D)
    sigma = LWE32.sigma_fresh * float(np.linalg.norm(weights_D)) / LWE32.delta
    assert np.abs(sums_N - X_ND.astype(np.int64) @ weights_D).max() < 7 * sigma


def test_cosines_are_right_to_the_stated_error(encryptor: Encryptor, owner: OwnerKeys) -> None:
    """At D = 256 the error against float cosines is about 1.15e-3 and the best record is found."""
    x_ND = unit_rows(1024, 256, 5)
    _, block = encrypted(encryptor, x_ND)
    query_D = x_ND[77] + 0.2 * unit_rows(1, 256, 6)[0]
    weights_D = quantise_query(query_D)
    answer = score_block(block.header, block.head_Dn, block.columns_ND, weights_D)
    cosine_N = owner_side.open_scores(owner.lwe, block.header, answer, weights_D)
    error_N = cosine_N - x_ND @ query_D / np.linalg.norm(query_D)
    assert cosine_N.argmax() == 77
    assert error_N.std() < 1.3e-3
    assert np.abs(error_N).max() < 6e-3
    assert (cosine_N % owner_side.COSINE_GRID == 0).all()


@pytest.mark.parametrize("D", [128, 512])
def test_exact_scores_are_the_integers_of_the_plain_product(exact_pair: Pair, D: int) -> None:
    """LWE64: every score of 1024 records is w . x itself, for the longest weights too."""
    encryptor, secret = exact_pair
    x_ND = unit_rows(1024, D, 5)
    X_ND, block = encrypted(encryptor, x_ND)
    longest_D = np.zeros(D, np.int32)
    longest_D[3] = weight_scale_for(LWE64, D) + rounding_slack(D)
    for weights_D in (quantise_query(unit_rows(1, D, 4)[0], LWE64), longest_D):
        answer = score_block(block.header, block.head_Dn, block.columns_ND, weights_D)
        scores_N = owner_side._open_sums(secret, block.header, answer, weights_D)
        assert np.array_equal(scores_N, X_ND.astype(np.int64) @ weights_D)
        assert scores_N.dtype == np.int64


def test_cosines_of_exact_scores_have_no_grid(exact_pair: Pair) -> None:
    """LWE64: cosines are exact scores over the scales, and six times nearer to float than LWE32's."""
    encryptor, secret = exact_pair
    x_ND = unit_rows(1024, 256, 5)
    X_ND, block = encrypted(encryptor, x_ND)
    weights_D = quantise_query(x_ND[77], LWE64)
    answer = score_block(block.header, block.head_Dn, block.columns_ND, weights_D)
    cosine_N = owner_side.open_scores(secret, block.header, answer, weights_D)
    plain_N = X_ND.astype(np.int64) @ weights_D
    assert np.array_equal(cosine_N, plain_N / (block.header.scale * np.linalg.norm(weights_D)))
    assert (cosine_N - x_ND @ x_ND[77]).std() < 2.1e-4


def test_scores_that_noise_could_change_are_rounded_to_the_grid(
    encryptor: Encryptor, owner: OwnerKeys, exact_pair: Pair
) -> None:
    """LWE32's scores, and LWE64's with weights one longer than allowed, leave no noise; exact ones stay."""
    for (one, secret), norm in (((encryptor, owner.lwe), 2), (exact_pair, 1496)):
        _, block = encrypted(one, unit_rows(2, 8, 0))
        weights_D = np.zeros(8, np.int32)
        for length, exact in ((norm - 1, True), (norm, False)):
            weights_D[0] = length
            answer = score_block(block.header, block.head_Dn, block.columns_ND, weights_D)
            assert search.score_is_exact(block.header, weights_D) is exact
            cosine_N = owner_side.open_scores(secret, block.header, answer, weights_D)
            assert (cosine_N % owner_side.COSINE_GRID == 0).all() != exact


def test_an_image_finds_itself_before_its_near_duplicates(encryptor: Encryptor, owner: OwnerKeys) -> None:
    """With 200 neighbours at cosine 0.998 the query's own record is first."""
    centre_D = unit_rows(1, 256, 7)[0]
    near_ND = centre_D + 0.0632 * unit_rows(200, 256, 8)
    x_ND = np.vstack([near_ND / np.linalg.norm(near_ND, axis=1, keepdims=True), centre_D])
    _, block = encrypted(encryptor, x_ND)
    weights_D = quantise_query(centre_D)
    answer = score_block(block.header, block.head_Dn, block.columns_ND, weights_D)
    assert owner_side.open_scores(owner.lwe, block.header, answer, weights_D).argmax() == 200


def test_opposite_and_orthogonal_records(encryptor: Encryptor, owner: OwnerKeys) -> None:
    """Cosines -1, 0 and 1 come out as such, at the ends of the range without wrapping."""
    x_ND = np.eye(3, 64, dtype=np.float32)
    x_ND[2] = -x_ND[0]
    _, block = encrypted(encryptor, x_ND)
    weights_D = quantise_query(x_ND[0])
    answer = score_block(block.header, block.head_Dn, block.columns_ND, weights_D)
    cosine_N = owner_side.open_scores(owner.lwe, block.header, answer, weights_D)
    assert cosine_N == pytest.approx([1, 0, -1], abs=5e-4)


@pytest.mark.parametrize(
    "query", [np.zeros(4), np.array([1.0, np.nan]), np.array([np.inf, 1.0]), np.ones((2, 2))]
)
def test_queries_without_a_direction_are_refused(query: np.ndarray) -> None:
    """Zero, non-finite and misshapen queries are errors."""
    with pytest.raises(ZeroWeightsError):
        quantise_query(query)


def test_a_querys_length_does_not_matter() -> None:
    """Only the direction of a query counts."""
    query_D = unit_rows(1, 256, 9)[0].astype(np.float64)
    assert (quantise_query(query_D) == quantise_query(1e6 * query_D)).all()


def test_weights_that_do_not_fit_the_block_are_refused(encryptor: Encryptor) -> None:
    """One int32 weight per feature, or an error."""
    _, block = encrypted(encryptor, unit_rows(2, 8, 0))
    for bad in (np.ones(7, np.int32), np.ones(8, np.int64), np.ones((8, 1), np.int32)):
        with pytest.raises(ShapeError):
            score_block(block.header, block.head_Dn, block.columns_ND, bad)


def test_a_block_that_contradicts_its_header_is_not_scored(encryptor: Encryptor) -> None:
    """The server never answers from words that are not the block the header describes."""
    _, block = encrypted(encryptor, unit_rows(2, 8, 0))
    for head, columns in ((block.head_Dn, block.columns_ND[:1]), (block.head_Dn[:, 1:], block.columns_ND)):
        with pytest.raises(ShapeError):
            score_block(block.header, head, columns, np.ones(8, np.int32))


def test_the_server_imports_no_secret_key_code() -> None:
    """Importing search brings in neither the owner's side, nor key files, nor torch."""
    code = (
        "import sys, stages.encrypt.lwe.search as s;"
        "print([m for m in sys.modules if m == 'torch' or m.startswith('stages.encrypt.keys')])"
    )
    root = Path(search.__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_block_that_lost_columns_is_still_searched(owner: OwnerKeys, encryptor: Encryptor) -> None:
    """Scores of the columns that are left are those of the whole block; positions out of it are refused."""
    x_ND = unit_rows(9, 16, seed=5)
    X_ND, block = encrypted(encryptor, x_ND, slot=3)
    weights_D = quantise_query(x_ND[4])
    whole = score_block(block.header, block.head_Dn, block.columns_ND, weights_D)
    left = np.array([0, 4, 8], np.uint32)
    part = score_block(block.header, block.head_Dn, block.columns_ND[left], weights_D, left)
    cosines = [owner_side.open_scores(owner.lwe, block.header, one, weights_D) for one in (whole, part)]
    assert np.array_equal(cosines[0][left], cosines[1])
    plain_3D = owner_side.decrypt(owner.lwe, block.header, block.head_Dn, block.columns_ND[left], left)
    assert np.array_equal(plain_3D, X_ND[left])
    with pytest.raises(ShapeError):
        score_block(block.header, block.head_Dn, block.columns_ND[left], weights_D, left + np.uint32(1))
