from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from stages.base import Reason
from stages.batches import Features, Rows
from stages.encrypt.keys import owner as owner_side
from stages.encrypt.keys.folder import OwnerKeys
from stages.encrypt.keys.owner import SecretKey
from stages.encrypt.keys.worker import load_signer
from stages.encrypt.lwe.parameters import LWE64
from stages.encrypt.lwe.scheme import Encryptor
from stages.encrypt.lwe.search import quantise_query, score_block
from stages.encrypt.lwe.wire import decode_header
from stages.encrypt.options import EncryptOptions
from stages.encrypt.public.keyfiles import KeyFileError
from stages.encrypt.stage import Encrypt, encrypt_batch


def features(count: int, dimensions: int = 256) -> Features:
    """Random unit vectors with recognisable rows."""
    x_ND = np.random.default_rng(count).normal(size=(count, dimensions))
    x_ND = (x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)).astype(np.float32)
    x_ND.flags.writeable = False
    keys = tuple(i.to_bytes(32, "big") for i in range(count))
    blobs = tuple(b"sealed %d" % i for i in range(count))
    return Features(Rows(keys, tuple(bytes(32) for _ in keys), blobs, blobs), x_ND)


@pytest.mark.parametrize("count", [1, 33])
def test_a_batch_becomes_one_block_that_the_owner_can_search(
    key_directory: Path, owner: OwnerKeys, count: int
) -> None:
    """Rows stay in order, and each finds itself."""
    batch = features(count)
    with Encrypt(EncryptOptions(), key_directory / "site").open() as encrypt:
        split = encrypt(batch)
    sealed = split.kept
    assert split.rejected == ()
    assert sealed.rows == batch.rows
    header = decode_header(sealed.header)
    assert (header.count, header.slot, header.dimensions, header.key_id) == (count, 0, 256, owner.key_id)
    for row in (0, count - 1):
        weights_D = quantise_query(batch.feature_ND[row])
        answer = score_block(header, sealed.head_Dn, sealed.columns_ND, weights_D)
        cosine_N = owner_side.open_scores(owner.lwe, header, answer, weights_D)
        assert cosine_N.argmax() == row
        assert cosine_N == pytest.approx(batch.feature_ND @ batch.feature_ND[row], abs=6e-3)


def test_a_batch_under_an_exact_key_is_scored_exactly(
    exact_pair: tuple[Encryptor, SecretKey], key_directory: Path
) -> None:
    """LWE64: the stage's scale leaves room for exact scores; cosines are right to 10^-3."""
    encryptor, secret = exact_pair
    batch = features(5)
    sealed = encrypt_batch(encryptor, load_signer(key_directory), batch).kept
    header = decode_header(sealed.header)
    assert (header.parameters, header.scale) == (LWE64, 8183)
    weights_D = quantise_query(batch.feature_ND[3], LWE64)
    answer = score_block(header, sealed.head_Dn, sealed.columns_ND, weights_D)
    cosine_N = owner_side.open_scores(secret, header, answer, weights_D)
    assert cosine_N.argmax() == 3
    assert cosine_N == pytest.approx(batch.feature_ND @ batch.feature_ND[3], abs=1e-3)


def test_rows_outside_the_plaintext_range_are_rejected(key_directory: Path) -> None:
    """Non-finite and too long features end as OVERFLOW; the others go on; the counts add up."""
    batch = features(5, 16)
    x_ND = batch.feature_ND.copy()
    x_ND[1, 3], x_ND[4] = np.nan, 2 * x_ND[4]
    with Encrypt(EncryptOptions(), key_directory).open() as encrypt:
        split = encrypt(Features(batch.rows, x_ND))
    assert split.kept.rows == batch.rows.take([0, 2, 3])
    assert [(one.key, one.stage, one.reason) for one in split.rejected] == [
        (batch.rows.keys[1], "encrypt", Reason.OVERFLOW),
        (batch.rows.keys[4], "encrypt", Reason.OVERFLOW),
    ]
    assert decode_header(split.kept.header).count == 3


@pytest.mark.parametrize("bad", [False, True])
def test_an_empty_block_is_still_a_block(key_directory: Path, bad: bool) -> None:
    """No rows, or none that fits, gives an empty Sealed with a valid header."""
    batch = features(1 if bad else 2, 8)
    batch = Features(batch.rows, np.full((1, 8), np.inf, np.float32)) if bad else batch.take([])
    with Encrypt(EncryptOptions(), key_directory).open() as encrypt:
        split = encrypt(batch)
    assert len(split.kept) == 0
    assert len(split.rejected) == int(bad)
    assert split.kept.columns_ND.shape == (0, 8)
    assert decode_header(split.kept.header).count == 0


def test_more_rows_than_slots_is_a_bug(key_directory: Path) -> None:
    """The engine bounds batches; the stage fails loudly when it does not."""
    with (
        Encrypt(EncryptOptions(), key_directory).open() as encrypt,
        pytest.raises(ValueError, match="at most 1024"),
    ):
        encrypt(features(1025, 8))


def test_a_block_is_full_with_a_row_in_every_slot(key_directory: Path) -> None:
    """As most blocks of a long run are."""
    with Encrypt(EncryptOptions(), key_directory).open() as encrypt:
        sealed = encrypt(features(1024, 8)).kept
    assert (len(sealed), decode_header(sealed.header).count) == (1024, 1024)


def test_threads_are_set_for_the_stage_only(key_directory: Path) -> None:
    """Torch's thread count is the option's while open and the old one afterwards."""
    before = torch.get_num_threads()
    with Encrypt(EncryptOptions(threads=3), key_directory).open():
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before


def test_a_missing_key_is_a_key_file_error(tmp_path: Path) -> None:
    """Opening without keys names the file."""
    with pytest.raises(KeyFileError, match="bundle"), Encrypt(EncryptOptions(), tmp_path).open():
        pass


def test_the_recipe_is_picklable(key_directory: Path) -> None:
    """The stage travels to its worker."""
    stage = Encrypt(EncryptOptions(threads=2), key_directory, "cpu")
    assert pickle.loads(pickle.dumps(stage)) == stage  # noqa: S301 - our own bytes
    assert stage.name == "encrypt"


@pytest.mark.parametrize("bad", [{"threads": 0}, {"threads": 257}, {"colour": 1}])
def test_options_have_bounds(bad: dict[str, int]) -> None:
    """Wrong values and unknown names are configuration errors."""
    with pytest.raises(ValidationError):
        EncryptOptions(**bad)
    assert [EncryptOptions(threads=threads).threads for threads in (1, 256)] == [1, 256]


def test_a_worker_takes_one_thread_unless_it_is_given_more() -> None:
    """Replicas share the cores: the engine adds processes, not threads."""
    assert EncryptOptions().threads == 1
