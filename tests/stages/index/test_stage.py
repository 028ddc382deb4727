"""The stage: a picklable recipe whose entries are durable when they come back."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.base import Stage
from stages.batches import Entries, Sealed
from stages.encrypt.keys.folder import new_keys
from stages.encrypt.keys.worker import load_signer
from stages.encrypt.lwe.scheme import Encryptor
from stages.encrypt.public.folder import load_public
from stages.encrypt.public.keyfiles import KeyFileError
from stages.encrypt.public.signing import SignatureRefusedError
from stages.index.errors import OtherModelError
from stages.index.options import IndexOptions
from stages.index.reader import open_reader
from stages.index.session import open_writer
from stages.index.stage import Append
from tests.pipeline.queries.encrypted import D, record_key, sealed_block, unit_rows

pytestmark = pytest.mark.usefixtures("fast_disk")


MODEL = b"\xab" * 32  # SHA-256 of weights


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "keys"
    new_keys(folder, None)
    return folder


@pytest.fixture(scope="module")
def encryptor(keys: Path) -> Encryptor:
    return Encryptor(load_public(keys).lwe)


def signed(block: Sealed, keys: Path) -> Sealed:
    return replace(block, signature=load_signer(keys).sign(block))


def sound(encryptor: Encryptor, seed: int, rows: int) -> Sealed:
    """A block as a worker makes it, unsigned."""
    return sealed_block(encryptor, unit_rows(rows, seed), [record_key(seed, row) for row in range(rows)])


def test_blocks_become_entries(tmp_path: Path, encryptor: Encryptor, keys: Path) -> None:
    """All kept, none rejected; in the log when the stage is closed, or a moment after."""
    recipe = Append(IndexOptions(), tmp_path / "index", keys / "site", MODEL, D)
    stage: Stage[Sealed, Entries] = pickle.loads(pickle.dumps(recipe))  # noqa: S301 - our own
    assert stage.name == "append"
    with stage.open() as append:
        split = append(signed(sound(encryptor, 1, 9), keys))
        assert split.rejected == ()
        assert len(split.kept) == 9
    assert open_reader(tmp_path / "index").size == 9


def test_the_stage_can_be_opened_again(tmp_path: Path, encryptor: Encryptor, keys: Path) -> None:
    """A restarted worker goes on where the first one was."""
    stage = Append(IndexOptions(), tmp_path, keys, MODEL, D)
    for fresh in (True, False):
        with stage.open() as append:
            assert append(signed(sound(encryptor, 1, 9), keys)).kept.fresh_N.tolist() == [fresh] * 9


def test_features_of_another_model_are_refused(tmp_path: Path, encryptor: Encryptor, keys: Path) -> None:
    """The first model with records is stated by every checkpoint from then on, and stays."""
    index = tmp_path / "index"
    with open_writer(index, IndexOptions()):
        assert open_reader(index).model is None
    for _ in range(2):
        with Append(IndexOptions(), index, keys, MODEL, D).open() as append:
            append(signed(sound(encryptor, 1, 9), keys))
        assert open_reader(index).model == MODEL
        with open_writer(index, IndexOptions()) as writer:
            writer.append(sound(encryptor, 2, 3))
    other = Append(IndexOptions(), index, keys, bytes(32), D)
    with (
        pytest.raises(OtherModelError, match=r"of weights abababab.*, these are 000000"),
        other.open(),
    ):
        pass
    assert open_reader(index).size == 12


def test_the_model_is_stated_before_the_first_record(tmp_path: Path) -> None:
    """So a run that was killed at once has said whose features it left."""
    with open_writer(tmp_path, IndexOptions(), MODEL):
        assert open_reader(tmp_path).model == MODEL


def test_what_no_worker_signed_is_not_appended(tmp_path: Path, encryptor: Encryptor, keys: Path) -> None:
    """Unsigned, changed and foreign blocks end loudly, and the log stays as it was."""
    new_keys(tmp_path / "foreign", None)
    block = signed(sound(encryptor, 1, 9), keys)
    changed = block.columns_ND.copy()
    changed[3, 2] ^= 1
    bad = {
        "carries no signature": sound(encryptor, 1, 9),
        "is not what worker key": replace(block, columns_ND=changed),
        "which the public bundle does not name": signed(sound(encryptor, 1, 9), tmp_path / "foreign"),
    }
    with Append(IndexOptions(), tmp_path / "index", keys, MODEL, D).open() as append:
        for sentence, one in bad.items():
            with pytest.raises(SignatureRefusedError, match=sentence):
                append(one)
        assert open_reader(tmp_path / "index").size == 0
        assert np.array_equal(append(block).kept.index_N, np.arange(9))


def test_an_index_needs_a_bundle_to_open(tmp_path: Path) -> None:
    """Without verification keys there is nothing to append by, and no index is made."""
    with (
        pytest.raises(KeyFileError, match=r"bundle\.json"),
        Append(IndexOptions(), tmp_path / "index", tmp_path, MODEL, D).open(),
    ):
        pass
    assert not (tmp_path / "index").exists()
