"""A witness accepts what continues, and keeps both notes of what does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.batches import Sealed
from stages.index.log.note import NoteSigner
from stages.index.reader import open_reader
from stages.index.store.identity import read_checkpoint, read_identity, read_signing_keys
from stages.index.verifier import KeyRoot, ProofError, open_checkpoint, verify_proof
from stages.index.witness import (
    EquivocationError,
    WitnessError,
    WitnessKey,
    load_witness_key,
    new_witness_key,
    witness,
)

pytestmark = pytest.mark.usefixtures("fast_disk")
MakeIndex = Callable[..., list[Sealed]]
NOW_S = 1_700_000_000


@pytest.fixture
def key(tmp_path: Path) -> WitnessKey:
    return new_witness_key(tmp_path / "witness.key", "example.org/w1")


@pytest.fixture
def log(tmp_path: Path, make_index: MakeIndex) -> Path:
    make_index(tmp_path / "log", [300])
    return tmp_path / "log"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "seen.note"


def test_a_log_that_grows_is_cosigned_each_time(
    log: Path, state: Path, key: WitnessKey, make_index: MakeIndex
) -> None:
    """The state is the newest checkpoint with the cosignature, and it moves forward."""
    assert witness(open_reader(log), state, key, NOW_S) is None
    make_index(log, [5, 90], seed=1)
    reader = open_reader(log)
    before = witness(reader, state, key, NOW_S + 60)
    assert before is not None
    assert before.size == 300
    assert state.read_bytes().startswith(reader.checkpoint)
    assert open_checkpoint(state.read_bytes(), (*reader.log, key.public)).size == 395
    with pytest.raises(ProofError, match="not signed"):
        open_checkpoint(reader.checkpoint, (*reader.log, key.public))


def test_the_same_checkpoint_is_cosigned_again(log: Path, state: Path, key: WitnessKey) -> None:
    """With the new time: the witness says what is newest as of then."""
    witness(open_reader(log), state, key, NOW_S)
    first = state.read_bytes()
    assert witness(open_reader(log), state, key, NOW_S + 1) is not None
    assert state.read_bytes() != first


def test_without_a_key_the_log_is_watched_all_the_same(log: Path, state: Path, make_index: MakeIndex) -> None:
    """The state then is the checkpoint as the log signed it."""
    witness(open_reader(log), state, None, NOW_S)
    make_index(log, [5], seed=1)
    witness(open_reader(log), state, None, NOW_S)
    assert state.read_bytes() == open_reader(log).checkpoint


@pytest.mark.parametrize(("ours", "theirs"), [([5], [5]), ([5], [5, 5]), ([5, 300], [5]), ([5], [6])])
def test_a_forked_log_is_caught(
    tmp_path: Path,
    log: Path,
    state: Path,
    key: WitnessKey,
    make_index: MakeIndex,
    ours: list[int],
    theirs: list[int],
) -> None:
    """Two copies of one index that went on differently: of the same size, longer, shorter."""
    fork = shutil.copytree(log, tmp_path / "fork")
    make_index(log, ours, seed=10)
    make_index(fork, theirs, seed=20)
    witness(open_reader(log), state, key, NOW_S)
    accepted = state.read_bytes()
    reader = open_reader(fork)
    with pytest.raises(EquivocationError, match="rolled back, forked or damaged") as caught:
        witness(reader, state, key, NOW_S)
    assert state.read_bytes() == accepted
    assert [file.read_bytes() for file in caught.value.evidence] == [accepted, reader.checkpoint]
    sizes = [open_checkpoint(file.read_bytes(), reader.log).size for file in caught.value.evidence]
    assert sizes == [300 + sum(ours), 300 + sum(theirs)]
    assert witness(open_reader(log), state, key, NOW_S) is not None  # the honest copy goes on


def test_a_log_that_went_back_is_refused(
    tmp_path: Path, log: Path, state: Path, key: WitnessKey, make_index: MakeIndex
) -> None:
    """An old copy of the same log, sound in itself."""
    backup = shutil.copytree(log, tmp_path / "backup")
    make_index(log, [7], seed=1)
    witness(open_reader(log), state, key, NOW_S)
    with pytest.raises(EquivocationError, match="300 records is not one that grew from that of 307"):
        witness(open_reader(backup), state, key, NOW_S)


def test_a_second_history_signed_by_the_logs_own_keys_is_caught(
    log: Path, state: Path, key: WitnessKey
) -> None:
    """Signatures do not help whoever holds both signing keys: same size, other root."""
    witness(open_reader(log), state, key, NOW_S)
    identity, public = read_identity(log)
    forged = NoteSigner(identity.origin, read_signing_keys(log, public), None).checkpoint(
        300, bytes(range(32))
    )
    (log / "checkpoint").write_bytes(forged)
    with pytest.raises(EquivocationError):
        witness(open_reader(log), state, key, NOW_S)


def test_a_log_with_two_key_trees_is_caught(log: Path, state: Path, key: WitnessKey) -> None:
    """Same records; but what they say is absent is not the same, or no longer said."""
    identity, public = read_identity(log)
    now, _ = read_checkpoint(log, public)
    assert now.keys is not None
    witness(open_reader(log), state, key, NOW_S)
    private = read_signing_keys(log, public)
    for other in (None, KeyRoot(now.keys.size, bytes(32)), KeyRoot(now.keys.size - 1, now.keys.root)):
        (log / "checkpoint").write_bytes(
            NoteSigner(identity.origin, private, other).checkpoint(now.size, now.root)
        )
        with pytest.raises(EquivocationError, match="key tree than it did"):
            witness(open_reader(log), state, key, NOW_S)


def test_a_log_that_changes_its_model_is_caught(log: Path, state: Path, key: WitnessKey) -> None:
    """Same tree; but its features would be compared with those of other weights."""
    identity, public = read_identity(log)
    size, root, private = open_reader(log).size, open_reader(log).root, read_signing_keys(log, public)

    keys = read_checkpoint(log, public)[0].keys

    def state_model(model: bytes | None) -> None:
        (log / "checkpoint").write_bytes(
            NoteSigner(identity.origin, private, keys, model).checkpoint(size, root)
        )

    state_model(bytes(32))
    witness(open_reader(log), state, key, NOW_S)
    for other in (bytes(range(32)), None):
        state_model(other)
        with pytest.raises(EquivocationError, match="states another model than it did"):
            witness(open_reader(log), state, key, NOW_S)
    state_model(bytes(32))
    assert witness(open_reader(log), state, key, NOW_S) is not None


def test_growth_from_what_the_witness_saw_is_proven_to_others(
    log: Path, state: Path, key: WitnessKey, make_index: MakeIndex
) -> None:
    """The cosigned note is an old checkpoint like any other, and a proof's note may be the cosigned one."""
    witness(open_reader(log), state, key, NOW_S)
    make_index(log, [44], seed=1)
    reader = open_reader(log)
    proven = verify_proof(reader.prove_growth(state.read_bytes()).encode(), reader.log)
    assert (proven.old and proven.old.size, proven.checkpoint.size) == (300, 344)


def test_a_state_of_another_log_is_refused(
    tmp_path: Path, log: Path, state: Path, key: WitnessKey, make_index: MakeIndex
) -> None:
    """Also where only the log's keys were exchanged."""
    make_index(tmp_path / "other", [3])
    witness(open_reader(tmp_path / "other"), state, key, NOW_S)
    with pytest.raises(WitnessError, match="is of another log, or damaged"):
        witness(open_reader(log), state, key, NOW_S)
    state.write_bytes(b"")
    with pytest.raises(WitnessError, match="is of another log, or damaged"):
        witness(open_reader(log), state, key, NOW_S)


def test_a_witness_key_is_read_back_and_never_overwritten(tmp_path: Path, key: WitnessKey) -> None:
    """Its name stands in the public half; the secret half is for its owner alone."""
    file = tmp_path / "witness.key"
    assert load_witness_key(file).public == key.public
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(WitnessError, match="File exists"):
        new_witness_key(file, "example.org/w2")
    with pytest.raises(WitnessError, match="no name for a witness"):
        new_witness_key(tmp_path / "other.key", "two words")
    new_witness_key(tmp_path / "other.key", "example.org/w2")
    shutil.copy(tmp_path / "other.key.pub", tmp_path / "witness.key.pub")
    with pytest.raises(WitnessError, match="is not the key of"):
        load_witness_key(file)
    file.write_bytes(b"no key")
    with pytest.raises(WitnessError, match="are no witness key"):
        load_witness_key(file)
    with pytest.raises(WitnessError, match="cannot read"):
        load_witness_key(tmp_path / "nowhere")
