"""The key tree beside the log: signed by the writer, used by readers, made again where it does not fit."""

from __future__ import annotations

import errno
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from stages.batches import Sealed
from stages.index import keeper
from stages.index import reader as reading
from stages.index.check.fsck import fsck
from stages.index.check.verify import verify
from stages.index.errors import DamagedError
from stages.index.log.note import NoteSigner
from stages.index.options import IndexOptions
from stages.index.publish import Publisher
from stages.index.reader import open_reader
from stages.index.session import open_writer
from stages.index.store import keytree_file as keyfile
from stages.index.store.identity import CHECKPOINT, read_identity, read_signing_keys
from stages.index.store.keytree_file import KEY_TREE, rebuilt, stored
from stages.index.store.tiles import Tiles
from stages.index.verifier import KeyRoot, verify_proof
from stages.index.writer import Writer

pytestmark = pytest.mark.usefixtures("fast_disk")
MakeBlock = Callable[..., Sealed]
MakeIndex = Callable[..., list[Sealed]]
ABSENT = b"\xff" * 32


def claim(path: Path, key: bytes) -> tuple[str, int | None, object]:
    reader = open_reader(path)
    proven = verify_proof(reader.prove_key(key).encode(), reader.log)
    return proven.claim, proven.index, proven.facts()["as_of"]


def test_a_closed_writer_has_signed_all_keys(tmp_path: Path, make_index: MakeIndex) -> None:
    """Every key proves its presence, and one that is not there its absence, as of the whole log."""
    make_index(tmp_path, [200, 3, 150])
    for index, key in enumerate(open_reader(tmp_path).keys()):
        assert claim(tmp_path, key) == ("presence", index, 353)
    assert claim(tmp_path, ABSENT) == ("absence", None, 353)
    assert verify(tmp_path).ok


def test_an_empty_log_lacks_every_key(tmp_path: Path) -> None:
    """From its first checkpoint on."""
    with open_writer(tmp_path, IndexOptions()):
        assert claim(tmp_path, ABSENT) == ("absence", None, 0)


def test_a_writer_restates_the_old_tree_while_it_appends(tmp_path: Path, make_block: MakeBlock) -> None:
    """Appending costs no tree; until the writer is done, absence is proven as of the records before."""
    with open_writer(tmp_path, IndexOptions()) as writer:
        writer.append(make_block(1, 40))
    with open_writer(tmp_path, IndexOptions()) as writer:
        writer.append(make_block(2, 5))
        writer.publish()
        assert (open_reader(tmp_path).size, open_reader(tmp_path).keys_size) == (45, 40)
        key = make_block(2, 5).rows.keys[0]
        assert claim(tmp_path, key) == ("absence", None, 40)
    assert claim(tmp_path, key) == ("presence", 40, 45)


def test_a_writer_that_died_leaves_the_tree_behind_and_the_next_catches_up(
    tmp_path: Path, make_block: MakeBlock
) -> None:
    """Nothing but a writer's orderly end signs a new tree."""
    writing = open_writer(tmp_path, IndexOptions())
    writing.__enter__().append(make_block(1, 40))
    assert not writing.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert claim(tmp_path, ABSENT) == ("absence", None, 0)
    with open_writer(tmp_path, IndexOptions()):
        pass
    assert claim(tmp_path, ABSENT) == ("absence", None, 40)


@pytest.mark.parametrize("how", ["newer", "damaged", "gone"])
def test_a_reader_of_an_older_checkpoint_proves_as_of_that(
    tmp_path: Path, make_index: MakeIndex, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Though the file has moved on: what is newer is taken out, once; else it is made again from the log."""
    make_index(tmp_path, [300])
    old = open_reader(tmp_path)
    make_index(tmp_path, [300], seed=1)
    later = list(open_reader(tmp_path).keys())[450]
    file = tmp_path / KEY_TREE
    if how == "newer":
        monkeypatch.setattr(reading, "rebuilt", lambda _: pytest.fail("the cache is sound"))
    elif how == "damaged":
        data = file.read_bytes()
        file.write_bytes(data[:100] + bytes(len(data) - 100))
    else:
        file.unlink()
    for key, claim in ((later, "absence"), (next(old.keys()), "presence")):
        proven = verify_proof(old.prove_key(key).encode(), old.log)
        assert (proven.claim, proven.facts()["as_of"]) == (claim, 300)
        monkeypatch.setattr(reading, "stored", lambda *_: pytest.fail("the reader has its tree"))


def test_rows_that_are_no_tree_change_no_answer(tmp_path: Path, make_index: MakeIndex) -> None:
    """Zeros where the cache should be, and keys whose ways lead there."""
    make_index(tmp_path, [200])
    file = tmp_path / KEY_TREE
    file.write_bytes(file.read_bytes()[:56] + bytes(file.stat().st_size - 56))
    for key in (bytes([255, number]) * 16 for number in range(40)):
        assert claim(tmp_path, key) == ("absence", None, 200)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, make_index: MakeIndex) -> Path:
    """200 records, to be copied."""
    path = tmp_path_factory.mktemp("original")
    make_index(path, [200])
    return path


PLACES = [0, 9, 20, 30, 60, 100, 1000, -1, -40, -700]


@pytest.mark.parametrize(
    ("how", "place"), [*((how, place) for how in ("flipped", "cut") for place in PLACES), ("gone", 0)]
)
def test_a_damaged_cache_changes_no_answer(
    tmp_path: Path, original: Path, make_index: MakeIndex, how: str, place: int
) -> None:
    """Readers prove from the log instead, and the next writer signs what the records say."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    file = tmp_path / KEY_TREE
    data = bytearray(file.read_bytes())
    if how == "gone":
        file.unlink()
    elif how == "cut":
        file.write_bytes(data[:place])
    else:
        data[place] ^= 1
        file.write_bytes(data)
    keys = list(open_reader(tmp_path).keys())
    assert [claim(tmp_path, key) for key in keys[::20]] == [("presence", i, 200) for i in range(0, 200, 20)]
    make_index(tmp_path, [20], seed=1)
    assert claim(tmp_path, ABSENT) == ("absence", None, 220)
    assert verify(tmp_path).ok
    tree = stored(tmp_path, 220)
    assert tree is not None
    assert tree.root == rebuilt(Tiles(tmp_path, 220)).root


def test_a_sound_cache_is_continued_not_made_again(
    tmp_path: Path, make_index: MakeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer reads the records that are new, and no others."""
    make_index(tmp_path, [200])
    monkeypatch.setattr(keyfile, "rebuilt", lambda _: pytest.fail("the cache is sound"))
    make_index(tmp_path, [20], seed=1)
    assert claim(tmp_path, ABSENT) == ("absence", None, 220)


def test_a_writer_signs_no_tree_of_damaged_records(tmp_path: Path, make_index: MakeIndex) -> None:
    """Each record it adds is compared with its leaf hash first."""
    make_index(tmp_path, [300])
    (tmp_path / KEY_TREE).unlink()
    file = tmp_path / "tile/entries/000"
    data = file.read_bytes()
    file.write_bytes(data[:10] + bytes([data[10] ^ 1]) + data[11:])
    with (
        pytest.raises(DamagedError, match="tile/entries/000 does not hold record 0"),
        open_writer(tmp_path, IndexOptions()) as writer,
    ):
        writer.append(make_index(tmp_path / "other", [1], seed=9)[0])


def test_a_signed_tree_of_other_keys_is_found(tmp_path: Path, make_index: MakeIndex) -> None:
    """By verification, and by whoever asks for a proof: a signature does not make it right."""
    make_index(tmp_path, [20])
    reader = open_reader(tmp_path)
    identity, public = read_identity(tmp_path)
    forged = NoteSigner(identity.origin, read_signing_keys(tmp_path, public), KeyRoot(20, bytes(range(32))))
    (tmp_path / CHECKPOINT).write_bytes(forged.checkpoint(reader.size, reader.root))
    (finding,) = verify(tmp_path).errors
    assert finding.file == "checkpoint"
    assert "not that of its first 20 records" in finding.reason
    with pytest.raises(DamagedError, match="not that of its records"):
        open_reader(tmp_path).prove_key(ABSENT)


def grown_to(path: Path, size: int) -> None:
    """Wait until the signed key tree is of so many records."""
    deadline_s = time.monotonic() + 60
    while open_reader(path).keys_size != size:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_a_writer_that_never_closes_keeps_the_tree(
    tmp_path: Path, make_block: MakeBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the background, again and again; readers of older checkpoints prove as of theirs from it."""
    monkeypatch.setattr(keeper, "EVERY_S", 0.05)
    monkeypatch.setattr(reading, "rebuilt", lambda _: pytest.fail("the cache is sound"))
    with open_writer(tmp_path, IndexOptions()) as writer:
        writer.append(make_block(1, 40))
        writer.publish()
        grown_to(tmp_path, 40)
        old = open_reader(tmp_path)
        assert claim(tmp_path, ABSENT) == ("absence", None, 40)
        writer.append(make_block(2, 300))
        writer.publish()
        grown_to(tmp_path, 340)
        key = make_block(2, 300).rows.keys[7]
        assert claim(tmp_path, key) == ("presence", 47, 340)
        proven = verify_proof(old.prove_key(key).encode(), old.log)
        assert (proven.claim, proven.facts()["as_of"]) == ("absence", 40)
    assert verify(tmp_path).ok
    assert fsck(tmp_path).findings == ()


def test_the_tree_costs_a_share_of_the_time(
    tmp_path: Path, make_block: MakeBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a slow round the next one waits many times as long as it took."""
    rounds: list[float] = []

    def slow(*_: object) -> None:
        rounds.append(time.monotonic())
        time.sleep(0.02)

    monkeypatch.setattr(keeper, "EVERY_S", 0.01)
    monkeypatch.setattr(keeper.KeyKeeper, "keep", slow)
    with open_writer(tmp_path, IndexOptions()) as writer:
        writer.append(make_block(1, 4))
        while len(rounds) < 2:
            time.sleep(0.01)
    assert rounds[1] - rounds[0] >= keeper.SHARE * 0.02


def test_a_tree_that_was_kept_but_not_signed_is_used_by_the_next_writer(
    tmp_path: Path, make_block: MakeBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that dies between the file and the checkpoint leaves a newer file than is signed."""
    with open_writer(tmp_path, IndexOptions()) as writer:
        writer.append(make_block(1, 40))
    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(Publisher, "restate", interrupted)
        with open_writer(tmp_path, IndexOptions()) as writer:
            writer.append(make_block(2, 300))
    assert open_reader(tmp_path).keys_size == 40
    assert fsck(tmp_path).findings == ()
    assert claim(tmp_path, ABSENT) == ("absence", None, 40)
    monkeypatch.setattr(keyfile, "rebuilt", lambda _: pytest.fail("the cache is sound"))
    with open_writer(tmp_path, IndexOptions()):
        pass
    assert claim(tmp_path, ABSENT) == ("absence", None, 340)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_fails_in_the_background_is_raised_by_the_next_append(
    tmp_path: Path, make_block: MakeBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full, for example."""
    failed = threading.Event()

    def full(*_: object) -> None:
        failed.set()
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(keeper, "EVERY_S", 0.01)
    monkeypatch.setattr(keeper, "caught_up", full)
    opened = open_writer(tmp_path, IndexOptions())
    writer = opened.__enter__()
    writer.append(make_block(1, 4))
    writer.publish()
    assert failed.wait(60)
    with pytest.raises(OSError, match="full"):
        append_on_and_on(writer, make_block)
    with pytest.raises(OSError, match="full"):
        opened.__exit__(None, None, None)


def append_on_and_on(writer: Writer, make_block: MakeBlock) -> None:
    for seed in range(2, 1000):
        writer.append(make_block(seed, 4))
