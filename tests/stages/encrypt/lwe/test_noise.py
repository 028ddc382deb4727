"""What the documented noise figures say, measured on real ciphertexts of both parameter sets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from itertools import count
from math import exp, sqrt

import numpy as np
import pytest
from scipy.stats import chi2

from stages.encrypt.keys import owner as owner_side
from stages.encrypt.keys.owner import SecretKey
from stages.encrypt.lwe import sampling
from stages.encrypt.lwe.parameters import LWE64, Parameters
from stages.encrypt.lwe.quantise import quantise_rows, scale_for
from stages.encrypt.lwe.scheme import EncryptedBlock, Encryptor, add
from stages.encrypt.lwe.search import quantise_query, score_block
from stages.encrypt.lwe.wire import LwePublicKey

pytestmark = pytest.mark.slow
D, N = 256, 1024
Pair = tuple[Encryptor, SecretKey]
BOTH = pytest.mark.parametrize("measured", ["LWE32", "LWE64"], indirect=True)


@dataclass(frozen=True)
class Measured:
    """Four blocks of the same records under one key, and the noise of their words, [N, D] each."""

    secret: SecretKey
    X_ND: np.ndarray
    blocks: list[EncryptedBlock]
    noises: list[np.ndarray]

    @property
    def parameters(self) -> Parameters:
        """The set."""
        return self.secret.parameters

    @property
    def variance(self) -> float:
        """Under this very key, the mean over slots: ||E_j||^2 / 2 + sigma^2 (1 + ||S_j||^2)."""
        p = self.parameters
        E_nl = sampling.noise(bytes(32), sampling.Stream.KEY_NOISE, (p.n, p.slots), p.noise_bits)
        S2_l, E2_l = ((one.numpy().astype(float) ** 2).sum(0) for one in (self.secret.S_nl, E_nl))
        return float((E2_l / 2 + p.sigma**2 * (1 + S2_l)).mean())


@pytest.fixture(scope="module")
def both(fixed_pair: tuple[LwePublicKey, SecretKey], exact_pair: Pair) -> dict[str, Measured]:
    """One measurement for each set, from fixed keys and fixed randomness."""
    keys = (i.to_bytes(32, "big") for i in count())
    return {
        "LWE32": measure(Encryptor(fixed_pair[0], randomness=lambda _: next(keys)), fixed_pair[1]),
        "LWE64": measure(*exact_pair),
    }


@pytest.fixture
def measured(both: dict[str, Measured], request: pytest.FixtureRequest) -> Measured:
    """The measurement of the set with this name."""
    return both[request.param]


def measure(encryptor: Encryptor, secret: SecretKey) -> Measured:
    """Encrypt 1024 quantised random unit vectors, four times."""
    x_ND = np.random.default_rng(1).normal(size=(N, D))
    scale = scale_for(secret.parameters, D)
    X_ND, _ = quantise_rows(x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True), scale)
    blocks = [encryptor.encrypt(X_ND, slot=0, scale=scale) for _ in range(4)]
    return Measured(secret, X_ND, blocks, [noise_of(secret, block, X_ND) for block in blocks])


def noise_of(secret: SecretKey, block: EncryptedBlock, X_ND: np.ndarray) -> np.ndarray:
    """C2 - C1 S - Delta X as signed numbers, [N, D]."""
    masks_DN = owner_side._masks(
        secret, block.header, block.head_Dn, np.arange(block.header.count, dtype="u4")
    )
    return signed(secret, block.columns_ND - masks_DN.T, X_ND)


def signed(secret: SecretKey, phase: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """What of a phase is noise, as floats."""
    word = secret.parameters.word
    return (
        (phase - (plain.astype(word) << secret.parameters.delta_bits))
        .view(f"<i{word.itemsize}")
        .astype(float)
    )


@BOTH
def test_fresh_noise_is_as_predicted(measured: Measured) -> None:
    """The variance of a million noise words is within 1 % of sigma_fresh^2, and their mean is zero."""
    assert measured.variance == pytest.approx(measured.parameters.sigma_fresh**2, rel=0.01)
    words = np.concatenate(measured.noises)
    assert np.var(words) == pytest.approx(measured.parameters.sigma_fresh**2, rel=0.01)
    assert abs(words.mean()) < 4 * measured.parameters.sigma_fresh / np.sqrt(words.size)
    assert np.abs(words).max() < 7 * measured.parameters.sigma_fresh < measured.parameters.delta / 4


@BOTH
def test_noise_of_sums_is_as_predicted(measured: Measured) -> None:
    """Four blocks added have four times the variance, within 1 %, and decrypt to the sums."""
    total = reduce(add, measured.blocks)
    plain_ND = owner_side.decrypt(measured.secret, total.header, total.head_Dn, total.columns_ND)
    assert (plain_ND == 4 * measured.X_ND).all()
    noise_ND = noise_of(measured.secret, total, 4 * measured.X_ND)
    assert np.var(noise_ND) == pytest.approx(4 * measured.variance, rel=0.01)


@BOTH
def test_noise_of_scores_is_as_predicted(measured: Measured) -> None:
    """Scores with 128 queries have ||w||^2 times the variance of a word, within 1 %."""
    secret, block = measured.secret, measured.blocks[0]
    ratios = []
    for query_D in np.random.default_rng(2).normal(size=(128, D)):
        weights_D = quantise_query(query_D, measured.parameters)
        answer = score_block(block.header, block.head_Dn, block.columns_ND, weights_D)
        masks_1N = owner_side._masks(secret, block.header, answer.head_n[None], answer.positions_N)
        noise_N = signed(secret, answer.scores_N - masks_1N[0], measured.X_ND.astype(np.int64) @ weights_D)
        ratios.append((noise_N**2).mean() / np.square(weights_D, dtype=float).sum())
    assert np.mean(ratios) == pytest.approx(measured.variance, rel=0.01)


@BOTH
@pytest.mark.parametrize("terms", [1, 4])
def test_failures_at_reduced_delta_stay_below_the_bound(measured: Measured, terms: int) -> None:
    """Real sums decrypted with a Delta / 2 of t = 1 to 6 deviations fail in less than 2 exp(-t^2 / 2)."""
    total = reduce(add, measured.blocks[:terms])
    sigma = measured.parameters.sigma_fresh * sqrt(terms)
    bits = [b for b in range(40) if 1 <= 2 ** (b - 1) / sigma < 6]
    rates = []
    for delta_bits in bits:
        reduced = replace(measured.parameters, delta_bits=delta_bits)
        header = replace(total.header, parameters=reduced)
        secret = replace(measured.secret, parameters=reduced)
        # Less Delta X, what remains encrypts zero: other numbers than zero are failures.
        zero_ND = total.columns_ND - (
            (terms * measured.X_ND).astype(reduced.word) << measured.parameters.delta_bits
        )
        wrong = np.count_nonzero(owner_side.decrypt(secret, header, total.head_Dn, zero_ND))
        rates.append(wrong / zero_ND.size)
        assert rates[-1] <= 2 * exp(-((2 ** (delta_bits - 1) / sigma) ** 2) / 2)
    assert len(bits) >= 2
    assert rates[0] > 0.01  # a tail that is there to be bounded
    assert rates == sorted(rates, reverse=True)


@BOTH
def test_ciphertext_bytes_look_uniform(measured: Measured) -> None:
    """Chi-squared over each byte of the words of head and columns finds nothing."""
    low, high = chi2.ppf([1e-5, 1 - 1e-5], 255)
    block = measured.blocks[0]
    for words in (block.head_Dn, block.columns_ND):
        for octets in words.view(np.uint8).reshape(-1, words.itemsize).T:
            counts = np.bincount(octets, minlength=256)
            assert low < ((counts - counts.mean()) ** 2 / counts.mean()).sum() < high


def test_ten_thousand_real_additions_are_exact(exact_pair: Pair) -> None:
    """LWE64: 10,000 encrypted blocks added one by one open to the exact sums."""
    encryptor, secret = exact_pair
    terms, slots, scale = 10_000, 3, 3000
    X_NT = np.random.default_rng(3).integers(-3000, 3001, (slots, terms))
    # Rows of a block share no randomness, so each of its features is a block of its own.
    total = None
    for part_NT in np.split(X_NT, 4, axis=1):
        wide = encryptor.encrypt(part_NT, slot=7, scale=3000 * 50)
        header = replace(wide.header, dimensions=1, scale=scale)
        for head_n, column_N in zip(wide.head_Dn, wide.columns_ND.T, strict=True):
            one = EncryptedBlock(header, head_n[None, :], column_N[:, None])
            total = one if total is None else add(total, one)
    assert total is not None
    assert total.header.terms == terms
    found_N1 = owner_side.decrypt(secret, total.header, total.head_Dn, total.columns_ND)
    assert (found_N1[:, 0] == X_NT.sum(1)).all()


def test_a_million_additions_by_simulation_are_exact(exact_pair: Pair) -> None:
    """LWE64: noise drawn as that of 10^6 blocks under a real key stays 17 deviations clear of Delta / 2."""
    _, secret = exact_pair
    p, terms, rows = secret.parameters, LWE64.max_terms, 256
    rng = np.random.default_rng(4)
    R_Dn = rng.binomial(2 * terms, 0.5, (rows, p.n)) - terms  # the exact law of a sum of CBD(1)
    E1_Dn = rng.normal(0, p.sigma * sqrt(terms), (rows, p.n))  # by the central limit theorem
    E2_Dl = rng.normal(0, p.sigma * sqrt(terms), (rows, p.slots))
    E_nl = sampling.noise(bytes(32), sampling.Stream.KEY_NOISE, (p.n, p.slots), p.noise_bits).numpy()
    noise_Dl = R_Dn @ E_nl.astype(float) + E2_Dl - E1_Dn @ secret.S_nl.numpy().astype(float)
    assert np.var(noise_Dl) == pytest.approx(terms * p.sigma_fresh**2, rel=0.01)
    assert p.delta / 2 > 17 * noise_Dl.std()
    assert np.abs(noise_Dl).max() < p.delta / 4
    assert (owner_side._round(np.rint(noise_Dl).astype(np.int64).view(p.word), p) == 0).all()
