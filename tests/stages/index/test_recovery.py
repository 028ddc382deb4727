"""Nothing acknowledged is lost and nothing unfinished remains, wherever a writer dies."""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from stages.batches import Sealed
from stages.index import publish
from stages.index.check.verify import verify
from stages.index.errors import DamagedError
from stages.index.options import IndexOptions
from stages.index.reader import open_reader
from stages.index.session import open_writer
from stages.index.store.manifest import ROW_BYTES

MakeBlock = Callable[..., Sealed]
MakeIndex = Callable[..., list[Sealed]]
OPTIONS = IndexOptions(segment_bytes=1 << 14)
BEFORE, ADDED = [200, 50], 10  # the append under test fills a tile: 250 + 10 > 256


class PowerCut(BaseException):
    """The process is gone; nobody handles this."""


class Disk:
    """A disk that keeps its promises and no more, and whose power fails at a given call.

    Bytes are lost (what was there before, else zeros) unless their file was synced after they were written,
    and names unless their directory was, each by the word of ``lost``. Half of the last write arrives.
    """

    def __init__(self, patch: pytest.MonkeyPatch, dies_at: int, lost: Callable[[], bool]) -> None:
        self._left = dies_at
        self._lost = lost
        self._lock = threading.Lock()
        self._bytes: dict[int, list[tuple[int, bytes]]] = {}  # inode: offset and what was there, not synced
        self._names: list[tuple[Path, bytes | None]] = []  # changed name and what it stood for
        self._os = {name: getattr(os, name) for name in ("pwrite", "fdatasync", "fsync", "replace", "open")}
        self._os |= {name: getattr(os, name) for name in ("mkdir", "unlink")}
        for name in self._os:
            patch.setattr(os, name, getattr(self, f"_{name}"))

    def fail(self, directory: Path) -> None:
        """The power is gone: what was not synced may be lost."""
        inodes = {path.stat().st_ino: path for path in directory.rglob("*") if path.is_file()}
        for inode, ranges in self._bytes.items():
            if inode in inodes and self._lost():
                with inodes[inode].open("r+b") as file:
                    for offset, before in reversed(ranges):
                        file.seek(offset)
                        file.write(before)
        for path, before in reversed(self._names):
            if self._lost():
                if path.is_dir():
                    shutil.rmtree(path)
                path.unlink(missing_ok=True)
                if before is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(before)

    def _call(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise PowerCut

    def _pwrite(self, fd: int, data: bytes, offset: int) -> int:
        with self._lock:
            if not self._left:
                data = data[: len(data) // 2]
            with Path(f"/proc/self/fd/{fd}").open("rb") as file:
                file.seek(offset)
                before = file.read(len(data)).ljust(len(data), b"\0")
            done: int = self._os["pwrite"](fd, data, offset)
            self._bytes.setdefault(os.fstat(fd).st_ino, []).append((offset, before[:done]))
            self._call()
            return done

    def _fdatasync(self, fd: int) -> None:
        with self._lock:
            self._call()
            self._bytes.pop(os.fstat(fd).st_ino, None)

    def _fsync(self, fd: int) -> None:
        with self._lock:
            self._call()
            directory = Path(f"/proc/self/fd/{fd}").readlink()
            self._names = [change for change in self._names if change[0].parent != directory]

    def _open(self, path: Any, flags: int, *args: Any, **more: Any) -> int:
        with self._lock:
            if flags & os.O_CREAT and not Path(path).exists():
                self._call()
                self._names.append((Path(path), None))
            fd: int = self._os["open"](path, flags, *args, **more)
            return fd

    def _replace(self, source: Any, target: Any) -> None:
        with self._lock:
            self._call()
            self._names.append((Path(target), Path(target).read_bytes() if Path(target).exists() else None))
            self._os["replace"](source, target)

    def _mkdir(self, path: Any, *args: Any) -> None:
        with self._lock:
            self._os["mkdir"](path, *args)
            self._names.append((Path(path), None))
            self._call()

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        with self._lock:
            place = Path(path) if dir_fd is None else Path(f"/proc/self/fd/{dir_fd}").readlink() / path
            if place.exists():
                self._call()
                self._names.append((place, place.read_bytes()))
            self._os["unlink"](path, dir_fd=dir_fd)


def some(seed: int) -> Callable[[], bool]:
    """Half of what may be lost."""
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    return lambda: chance.random() < 0.5


LOSSES = {"kill": lambda: False, "all": lambda: True, "some": some(1), "others": some(2)}
EVERY_LOSS = pytest.mark.parametrize(
    "loss",
    [
        "all",
        "some",
        pytest.param("kill", marks=pytest.mark.slow),
        pytest.param("others", marks=pytest.mark.slow),
    ],
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, make_index: MakeIndex) -> Path:
    path = tmp_path_factory.mktemp("base") / "index"
    make_index(path, BEFORE)
    return path


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is published but on demand: the calls are counted."""
    monkeypatch.setattr(publish, "PUBLISH_S", 3600)


def append(path: Path, block: Sealed) -> None:
    with open_writer(path, OPTIONS) as writer:
        writer.append(block)


@pytest.mark.slow
@pytest.mark.usefixtures("fast_disk")
@EVERY_LOSS
def test_power_fails_at_every_call_of_an_append(
    base: Path, tmp_path: Path, make_block: MakeBlock, loss: str
) -> None:
    """Readers see the old log or the new; another writer goes on from there, also past the same sizes."""
    old = sum(BEFORE)
    for dies_at in range(200):
        path = shutil.copytree(base, tmp_path / str(dies_at))
        acknowledged = done = False
        with open_writer(path, OPTIONS) as writer, pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, dies_at, LOSSES[loss])
            with suppress(PowerCut):
                acknowledged = len(writer.append(make_block(99, ADDED))) == ADDED
                writer.publish()
                done = True
            writer._broken = True  # the process is gone: nothing more is published
        disk.fail(path)
        assert open_reader(path).size in ({old + ADDED} if done else {old, old + ADDED})
        assert verify(path).errors == ()
        with open_writer(path, OPTIONS):
            assert open_reader(path).size in ({old + ADDED} if acknowledged else {old, old + ADDED})
        with open_writer(path, OPTIONS) as writer:
            for seed, rows in enumerate((3, 20), 100):  # past the width of a tile that the dead writer left
                writer.append(make_block(seed, rows))
            writer.publish()
            assert verify(path).errors == ()
            for seed, rows in ((102, 240), (99, ADDED)):  # past the end of that tile; and the retry
                writer.append(make_block(seed, rows))
        assert verify(path).errors == ()
        assert not [states for states in path.rglob("*.p") if states.with_suffix("").exists()]
        assert len(set(open_reader(path).keys())) == open_reader(path).size == old + ADDED + 263
        shutil.rmtree(path)
        if done:
            break
    assert dies_at > 20, "the append made fewer calls than it needs"


@pytest.mark.usefixtures("fast_disk")
def test_power_fails_after_a_kill_was_recovered_from(
    base: Path, tmp_path: Path, make_block: MakeBlock
) -> None:
    """What the next writer takes in was perhaps never synced: it is durable before it is acknowledged."""
    block = make_block(99, ADDED)
    for dies_at in range(200):
        path = shutil.copytree(base, tmp_path / str(dies_at))
        with pytest.MonkeyPatch.context() as patch:
            with open_writer(path, OPTIONS) as writer:
                disk = Disk(patch, dies_at, LOSSES["all"])
                died = True
                with suppress(PowerCut):
                    writer.append(block)
                    died = False
                writer._broken = True  # killed: nothing more is published, nothing is lost yet
                disk._left = 1 << 30
            with open_writer(path, OPTIONS) as writer:
                assert len(writer.append(block)) == ADDED
                writer.publish()
                writer._broken = True  # no more, not even the key tree
        disk.fail(path)
        assert open_reader(path).size == sum(BEFORE) + ADDED
        assert verify(path).errors == ()
        shutil.rmtree(path)
        if not died:
            break
    assert 3 < dies_at < 199


@pytest.mark.slow
@pytest.mark.usefixtures("fast_disk")
@EVERY_LOSS
def test_power_fails_at_every_call_of_a_creation(tmp_path: Path, make_block: MakeBlock, loss: str) -> None:
    """An index is there or is not; another writer makes it whole."""
    for dies_at in range(200):
        path = tmp_path / str(dies_at)
        path.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, dies_at, LOSSES[loss])
            try:
                append(path, make_block(1, 3))
                done = True
            except PowerCut:
                done = False
        disk.fail(path)
        append(path, make_block(1, 3))
        assert verify(path).errors == ()
        assert open_reader(path).size == 3
        if done:
            break
    assert dies_at > 20, "creation made fewer calls than it needs"


@pytest.mark.usefixtures("fast_disk")
@pytest.mark.parametrize("tail", [b"torn", bytes(5000), b"\xff" * ROW_BYTES, b"ARROW1" * 3000])
def test_a_tail_beyond_the_checkpoint_is_ignored_and_cut(
    base: Path, tmp_path: Path, make_block: MakeBlock, tail: bytes
) -> None:
    """Torn and zero-filled tails of segment and manifest, and a segment that was only begun."""
    path = shutil.copytree(base, tmp_path / "index")
    committed = {
        name: (path / name).stat().st_size for name in ("segments/000000.arrows", "segments/manifest")
    }
    for name in committed:
        with (path / name).open("ab") as file:
            file.write(tail)
    (path / "segments/000001.arrows").write_bytes(tail)
    assert verify(path).ok
    assert open_reader(path).record(sum(BEFORE) - 1).index == sum(BEFORE) - 1
    with open_writer(path, IndexOptions()):
        assert {name: (path / name).stat().st_size for name in committed} == committed
        assert not (path / "segments/000001.arrows").exists()
    append(path, make_block(99, ADDED))
    assert verify(path).ok


@pytest.mark.parametrize(
    "name",
    [
        "segments/000000.arrows",
        "segments/manifest",
        "tile/0/000.p/250",
        "tile/entries/000.p/250",
        "checkpoint",
    ],
)
@pytest.mark.parametrize("damage", ["cut", "zeroed"])
def test_a_writer_does_not_go_on_from_a_damaged_end(
    base: Path, tmp_path: Path, name: str, damage: str
) -> None:
    """Bytes that were committed and are gone are damage, named and not appended to."""
    path = shutil.copytree(base, tmp_path / "index")
    data = (path / name).read_bytes()
    (path / name).write_bytes(data[:-20] + (b"" if damage == "cut" else bytes(20)))
    with pytest.raises(DamagedError) as caught, open_writer(path, OPTIONS):
        pass
    assert name.startswith(caught.value.file)
    assert name in {finding.file for finding in verify(path).errors}
