from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.encrypt.keys import owner as owner_side
from stages.encrypt.keys.folder import OwnerKeys
from stages.encrypt.keys.owner import SecretKey
from stages.encrypt.lwe.errors import ForeignKeyError, PlaintextOverflowError, ShapeError
from stages.encrypt.lwe.parameters import LWE32
from stages.encrypt.lwe.scheme import EncryptedBlock, Encryptor
from stages.encrypt.lwe.search import BlockScores, score_block


@pytest.fixture(scope="module")
def block(encryptor: Encryptor) -> EncryptedBlock:
    """Three records of five features in slots 10 to 12."""
    return encryptor.encrypt(np.arange(-7, 8).reshape(3, 5), slot=10, scale=350)


def test_another_owners_block_is_refused(owner: OwnerKeys, block: EncryptedBlock) -> None:
    """A foreign key id is an error that names both keys, never noise presented as numbers."""
    foreign = SecretKey(owner.lwe.parameters, bytes(32), owner.lwe.S_nl)
    with pytest.raises(ForeignKeyError, match=owner.key_id.hex()[:16]):
        owner_side.decrypt(foreign, block.header, block.head_Dn, block.columns_ND)
    answer = score_block(block.header, block.head_Dn, block.columns_ND, np.ones(5, np.int32))
    with pytest.raises(ForeignKeyError):
        owner_side._open_sums(foreign, block.header, answer, np.ones(5, np.int32))


def test_a_forged_key_id_decrypts_to_noise(owner: OwnerKeys, block: EncryptedBlock) -> None:
    """Secrecy is in S: with another S of the same kind nothing of the records is left."""
    wrong = owner_side.expand_secret(owner.lwe.parameters, bytes(32), owner.key_id)
    noise = owner_side.decrypt(wrong, block.header, block.head_Dn, block.columns_ND)
    assert np.abs(noise).mean() > 2**14


@pytest.mark.parametrize("change", [{"count": 2}, {"dimensions": 4}])
def test_arrays_that_do_not_fit_the_header_are_refused(
    owner: OwnerKeys, block: EncryptedBlock, change: dict[str, int]
) -> None:
    """Shapes are checked against the header before any arithmetic."""
    with pytest.raises(ShapeError):
        owner_side.decrypt(owner.lwe, replace(block.header, **change), block.head_Dn, block.columns_ND)


def test_words_of_another_type_are_refused(owner: OwnerKeys, block: EncryptedBlock) -> None:
    """Signed or wider words would silently change the modulus."""
    for kind in (np.int32, np.uint64):
        with pytest.raises(ShapeError):
            owner_side.decrypt(owner.lwe, block.header, block.head_Dn.astype(kind), block.columns_ND)


def test_a_single_changed_word_changes_one_record_only(owner: OwnerKeys, block: EncryptedBlock) -> None:
    """Columns are independent: damage in one record (found by the log) never reaches another."""
    columns_ND = block.columns_ND.copy()
    columns_ND[1, 2] += 2**20
    plain_ND = owner_side.decrypt(owner.lwe, block.header, block.head_Dn, columns_ND)
    changed = np.argwhere(plain_ND != np.arange(-7, 8).reshape(3, 5))
    assert changed.tolist() == [[1, 2]]


def test_answers_that_do_not_fit_are_refused(owner: OwnerKeys, block: EncryptedBlock) -> None:
    """An answer has one word per LWE dimension and one per record."""
    good = score_block(block.header, block.head_Dn, block.columns_ND, np.ones(5, np.int32))
    for bad in (
        BlockScores(good.head_n[1:], good.scores_N, good.positions_N),
        BlockScores(good.head_n, good.scores_N[1:], good.positions_N),
        BlockScores(good.head_n, good.scores_N, good.positions_N + np.uint32(1)),
        BlockScores(good.head_n.astype(np.uint64), good.scores_N.astype(np.uint64), good.positions_N),
    ):
        with pytest.raises(ShapeError):
            owner_side._open_sums(owner.lwe, block.header, bad, np.ones(5, np.int32))


@pytest.mark.parametrize(
    "weights_D",
    [np.ones(4, np.int32), np.ones(6, np.int32), np.ones((1, 5), np.int32), np.ones(5, np.int64), np.ones(5)],
    ids=["short", "long", "nested", "int64", "float"],
)
def test_weights_that_do_not_fit_are_refused(
    owner: OwnerKeys, block: EncryptedBlock, weights_D: NDArray[np.int32]
) -> None:
    """The bound on a score is of the weights the key holder names: others would leave it unchecked."""
    answer = score_block(block.header, block.head_Dn, block.columns_ND, np.ones(5, np.int32))
    with pytest.raises(ShapeError, match="the block has 5 features"):
        owner_side.open_scores(owner.lwe, block.header, answer, weights_D)


def test_weights_that_may_overflow_are_refused(owner: OwnerKeys, block: EncryptedBlock) -> None:
    """Weights so long that a score might wrap are an error, whatever this block holds."""
    weights_D = np.full(5, 400, np.int32)
    answer = score_block(block.header, block.head_Dn, block.columns_ND, weights_D)
    with pytest.raises(PlaintextOverflowError, match="scale them down"):
        owner_side._open_sums(owner.lwe, block.header, answer, weights_D)


def test_secret_keys_are_not_printed(owner: OwnerKeys) -> None:
    """Repr shows ids only, so a log or a traceback cannot leak S."""
    assert "S_nl" not in repr(owner.lwe)
    assert "tensor" not in repr(owner)


def test_wide_blocks_are_refused_as_narrow_ones_are(exact_pair: tuple[Encryptor, SecretKey]) -> None:
    """LWE64: a foreign key, a key of the other set, overflowing weights and wrong words are an error each."""
    encryptor, secret = exact_pair
    block = encryptor.encrypt(np.arange(-7, 8).reshape(3, 5), slot=10, scale=8000)
    parts = (block.header, block.head_Dn, block.columns_ND)
    assert (owner_side.decrypt(secret, *parts) == np.arange(-7, 8).reshape(3, 5)).all()
    for foreign in (replace(secret, key_id=bytes(32)), replace(secret, parameters=LWE32)):
        with pytest.raises(ForeignKeyError):
            owner_side.decrypt(foreign, *parts)
    with pytest.raises(ShapeError, match="uint64"):
        owner_side.decrypt(secret, block.header, block.head_Dn.view(np.uint32), block.columns_ND)
    with pytest.raises(ShapeError):
        owner_side.decrypt(secret, block.header, block.head_Dn[:, :-1], block.columns_ND)
    weights_D = np.full(5, 8000, np.int32)
    answer = score_block(*parts, weights_D)
    with pytest.raises(PlaintextOverflowError, match="scale them down"):
        owner_side.open_scores(secret, block.header, answer, weights_D)
