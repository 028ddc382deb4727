from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.encrypt.keys.folder import OwnerKeys, load_owner, new_keys
from stages.encrypt.keys.opening import open_sum
from stages.encrypt.keys.owner import SecretKey, expand_secret, generate
from stages.encrypt.lwe.cohort import Collector, Partial, most_records, sum_block
from stages.encrypt.lwe.errors import ForeignKeyError, PlaintextOverflowError, ShapeError
from stages.encrypt.lwe.exchange import Scored, decode_answers, encode_answers
from stages.encrypt.lwe.parameters import LWE32, Parameters
from stages.encrypt.lwe.quantise import scale_for
from stages.encrypt.lwe.scheme import EncryptedBlock, Encryptor
from stages.encrypt.lwe.search import quantise_query, score_block, score_words
from stages.encrypt.lwe.shares import join, split_weights
from stages.encrypt.lwe.wire import Header


@pytest.fixture(scope="module")
def quiet(toy: Parameters) -> tuple[Encryptor, SecretKey]:
    """A toy key; at n = 16 the noise of a word is 38 / 2^14, so sums of up to 300 records are exact."""
    public = generate(toy, bytes(32), bytes(range(32)))
    return Encryptor(public), expand_secret(toy, bytes(32), public.key_id)


def all_of(partials: list[Partial], key: SecretKey) -> np.ndarray:
    return np.sum([open_sum(key, partial) for partial in partials], axis=0)


def collected(partials: list[Partial]) -> list[Partial]:
    collector = Collector()
    return [done for partial in partials for done in collector.add(partial)] + list(collector.rest())


@settings(max_examples=60, deadline=None)
@given(data=st.data(), D=st.integers(1, 6))
def test_sums_equal_those_of_the_plaintexts(
    quiet: tuple[Encryptor, SecretKey], data: st.DataObject, D: int
) -> None:
    """For any subset of the columns of any blocks, some of which lost columns before."""
    encryptor, key = quiet
    partials: list[Partial] = []
    expected_D = np.zeros(D, np.int64)
    for _ in range(data.draw(st.integers(1, 4))):
        N = data.draw(st.integers(1, 8))
        slot = data.draw(st.integers(0, 8 - N))
        values = st.lists(st.integers(-40, 40), min_size=D, max_size=D)
        X_ND = np.array(data.draw(st.lists(values, min_size=N, max_size=N)))
        block = encryptor.encrypt(X_ND, slot=slot, scale=100)
        chosen = np.array(sorted(data.draw(st.sets(st.integers(0, N - 1), min_size=1))), np.uint32)
        partials += sum_block(block.header, block.head_Dn, block.columns_ND[chosen], chosen)
        expected_D += X_ND[chosen].sum(axis=0)
    assert all(partial.exact for partial in partials)
    assert (all_of(partials, key) == expected_D).all()
    assert (all_of(collected(partials), key) == expected_D).all()


def test_blocks_with_the_same_slots_become_one_answer(quiet: tuple[Encryptor, SecretKey]) -> None:
    """As many as fit the plaintext range; other slots stay apart."""
    encryptor, key = quiet
    blocks = [encryptor.encrypt(np.full((2, 3), i), slot=0, scale=100) for i in range(20)]
    where = np.arange(2, dtype=np.uint32)
    partials = [p for b in blocks for p in sum_block(b.header, b.head_Dn, b.columns_ND, where)]
    other = encryptor.encrypt(np.full((2, 3), 7), slot=4, scale=100)
    partials += sum_block(other.header, other.head_Dn, other.columns_ND, where)
    together = collected(partials)
    assert sorted(partial.records for partial in together) == [2, 40]
    assert all_of(together, key).tolist() == [2 * sum(range(20)) + 14] * 3
    assert most_records(other.header) == 1297  # 101 m and the noise stay below 2^17


def test_more_records_than_the_range_holds_are_several_answers(
    encryptor: Encryptor, owner: OwnerKeys
) -> None:
    """A full block of the longest records under LWE32 splits by itself and adds up right."""
    X_ND = np.zeros((1024, 4), np.int32)
    X_ND[:, 1] = 353
    block = encryptor.encrypt(X_ND, slot=0, scale=353)
    partials = list(
        sum_block(block.header, block.head_Dn, block.columns_ND, np.arange(1024, dtype=np.uint32))
    )
    most = most_records(block.header)
    assert [partial.records for partial in partials] == [most, most, 1024 - 2 * most]
    assert not partials[0].exact
    sigma = sum(partial.sigma**2 for partial in partials) ** 0.5 / LWE32.delta
    assert np.abs(all_of(partials, owner.lwe) - [0, 1024 * 353, 0, 0]).max() < 7 * sigma


def test_ten_thousand_records_really(encryptor: Encryptor, owner: OwnerKeys) -> None:
    """Ten full blocks: the error has the standard deviation sqrt(m) sigma_fresh / Delta that is stated."""
    rng = np.random.default_rng(3)
    expected_D, partials = np.zeros(16, np.int64), []
    for _ in range(10):
        X_ND = rng.integers(-40, 41, (1024, 16))
        block = encryptor.encrypt(X_ND, slot=0, scale=354)
        everyone = np.arange(1000, dtype=np.uint32)
        partials += sum_block(block.header, block.head_Dn, block.columns_ND[:1000], everyone)
        expected_D += X_ND[:1000].sum(axis=0)
    partials = collected(partials)
    assert sum(partial.records for partial in partials) == 10_000
    sigma = np.sqrt(10_000) * LWE32.sigma_fresh / LWE32.delta
    assert sum(partial.sigma**2 for partial in partials) ** 0.5 / LWE32.delta == pytest.approx(sigma)
    error_D = all_of(partials, owner.lwe) - expected_D
    assert np.abs(error_D).max() < 6 * sigma
    assert 0.6 * sigma < error_D.std() < 1.5 * sigma


def test_three_records_are_exact_under_lwe32_and_four_are_not(encryptor: Encryptor) -> None:
    """Twelve standard deviations below half of Delta: the statement is about the noise alone."""
    block = encryptor.encrypt(np.ones((4, 8), np.int32), slot=0, scale=300)
    for count, exact in ((3, True), (4, False)):
        where = np.arange(count, dtype=np.uint32)
        (partial,) = sum_block(block.header, block.head_Dn, block.columns_ND[:count], where)
        assert partial.exact is exact


@pytest.mark.parametrize("name", ["LWE32", pytest.param("LWE64", marks=pytest.mark.slow)])
def test_every_parameter_set_sums_and_shares(tmp_path: Path, name: str) -> None:
    """Keys of each set, from their files: a sum over two groups of S_j, and a score from two shares."""
    public = new_keys(tmp_path / "keys", None, name)
    owner = load_owner(tmp_path / "keys", None)
    X_ND = np.random.default_rng(5).integers(-40, 41, (100, 3))
    block = Encryptor(public.lwe).encrypt(X_ND, slot=9, scale=scale_for(public.lwe.parameters, 3))
    where = np.arange(0, 100, 2, dtype=np.uint32)
    where = np.concatenate([where, np.arange(1, 60, 2, dtype=np.uint32)])
    partials = list(sum_block(block.header, block.head_Dn, block.columns_ND[where], where))
    error_D = all_of(partials, owner.lwe) - X_ND[where].sum(axis=0)
    sigma = sum(p.sigma**2 for p in partials) ** 0.5 / public.lwe.parameters.delta
    assert np.abs(error_D).max() <= (0 if all(p.exact for p in partials) else 7 * sigma)
    weights_D = quantise_query(np.array([1.0, -2.0, 0.5]), public.lwe.parameters)
    direct = score_block(block.header, block.head_Dn, block.columns_ND, weights_D)
    shares = split_weights(weights_D, public.lwe.parameters)
    joined = join(*(score_words(block.header, block.head_Dn, block.columns_ND, one) for one in shares))
    assert np.array_equal(joined.scores_N, direct.scores_N)
    assert np.array_equal(joined.head_n, direct.head_n)
    stream = io.BytesIO(
        b"".join(encode_answers(public.lwe.parameters, [Scored(0, 100, block.header.encode(), joined)]))
    )
    (back,) = decode_answers(public.lwe.parameters, stream.read)
    assert back.answer is not None
    assert np.array_equal(back.answer.scores_N, joined.scores_N)


CHANGES: dict[str, tuple[type[Exception], Callable[[Partial], Partial]]] = {
    "another key": (ForeignKeyError, lambda p: replace(p, header=replace(p.header, key_id=b"x" * 32))),
    "too many": (PlaintextOverflowError, lambda p: replace(p, blocks=10**6)),
    "half a head": (ShapeError, lambda p: replace(p, head_Dn=p.head_Dn[:1])),
    "half a sum": (ShapeError, lambda p: replace(p, total_D=p.total_D[:1])),
    "wide words": (ShapeError, lambda p: replace(p, total_D=p.total_D.astype(np.uint64))),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_cannot_be_opened_is_refused(quiet: tuple[Encryptor, SecretKey], what: str) -> None:
    """Never a wrong number."""
    encryptor, key = quiet
    block: EncryptedBlock = encryptor.encrypt(np.ones((2, 3), np.int32), slot=0, scale=100)
    where = np.arange(2, dtype=np.uint32)
    (partial,) = sum_block(block.header, block.head_Dn, block.columns_ND, where)
    error, change = CHANGES[what]
    with pytest.raises(error):
        open_sum(key, change(partial))


def test_records_that_fill_the_range_alone_are_refused(toy: Parameters) -> None:
    """Not even one would fit with its noise."""
    with pytest.raises(PlaintextOverflowError):
        most_records(Header(toy, bytes(32), 4, 2**17, 0, 1))


def test_the_collector_holds_little(quiet: tuple[Encryptor, SecretKey]) -> None:
    """Partial sums over ever other slots are given out as they come."""
    encryptor, _ = quiet
    block = encryptor.encrypt(np.ones((8, 1), np.int32), slot=0, scale=100)
    collector, out = Collector(), 0
    for mask in range(1, 256):
        where = np.flatnonzero([mask >> bit & 1 for bit in range(8)]).astype(np.uint32)
        for partial in sum_block(block.header, block.head_Dn, block.columns_ND[where], where):
            out += len(list(collector.add(partial)))
    assert out == 255 - 32
    assert len(list(collector.rest())) == 32
