"""Key files survive power cuts, and are secret from the first byte."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stages.encrypt.keys.folder import load_owner, load_owners, new_keys
from stages.encrypt.keys.rotation import change_passphrase, export_public, rotate
from stages.encrypt.keys.site import load_site_secret
from stages.encrypt.keys.worker import load_signer
from stages.encrypt.keys.workers import add_worker
from stages.encrypt.public.bundle import verification_key
from stages.encrypt.public.folder import load_public
from stages.encrypt.public.keyfiles import KeyFileError

QUICK = 10  # scrypt n = 2^10 for tests
OLD, NEW = "the old passphrase", "the new passphrase"
LOSSES = ("folders", "names")


class Disk:
    """What a power cut would leave of a folder, pictured before every call that changes it, and at the end.

    A file's bytes are as of its last sync. So are a folder's names; or every name that changed since is
    there, in any order but for new folders. Pictures are folders, named by number and loss.
    """

    def __init__(self, folder: Path, pictures: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._pictures = pictures
        self._names: dict[int, dict[str, int]] = {}  # by inode of a folder, as last synced
        self._bytes: dict[int, bytes] = {}  # by inode of a file, as last synced
        self._pins: dict[int, int] = {}  # descriptors: no inode is used again
        self._taking = False
        self.taken = 0
        for path in (folder, *folder.rglob("*")):
            self._sync(path)
        for name in ("open", "replace", "mkdir", "rmdir", "unlink", "fsync"):
            patch.setattr(os, name, partial(self._call, name, getattr(os, name)))

    def picture(self) -> None:
        """Take the pictures of this moment."""
        self._taking = True
        for loss in LOSSES:
            out = self._pictures / f"{self.taken:03} {loss}"
            out.mkdir(parents=True)
            self._restore(self._folder.stat().st_ino, self._folder, out, loss)
        self.taken += 1
        self._taking = False

    def _call(self, name: str, real: Callable[..., Any], *args: Any, **more: Any) -> Any:
        changes = name != "open" or args[1] & os.O_CREAT
        if self._taking or not changes:
            return real(*args, **more)
        self.picture()
        if name == "fsync":
            self._sync(Path(f"/proc/self/fd/{args[0]}").readlink())
        return real(*args, **more)

    def _pin(self, path: Path) -> int:
        inode = path.stat().st_ino
        if inode not in self._pins:
            self._taking, before = True, self._taking
            self._pins[inode] = os.open(path, os.O_RDONLY)
            self._taking = before
        return inode

    def _sync(self, path: Path) -> None:
        inode = self._pin(path)
        if path.is_dir():
            self._names[inode] = {entry.name: self._pin(entry) for entry in path.iterdir()}
        else:
            self._bytes[inode] = path.read_bytes()

    def _restore(self, inode: int, there: Path, out: Path, loss: str) -> None:
        """Fill a folder with what is left of the one with this inode."""
        synced = self._names.get(inode, {})
        now = {entry.name: self._pin(entry) for entry in there.iterdir()} if loss == "folders" else {}
        kept = {name: found for name, found in now.items() if name in synced or not (there / name).is_dir()}
        names = synced if loss == "names" else kept
        for name, found in names.items():
            mode = os.fstat(self._pins[found]).st_mode
            if stat.S_ISDIR(mode):
                (out / name).mkdir()
                self._restore(found, there / name, out / name, loss)
            else:
                (out / name).write_bytes(self._bytes.get(found, b""))
                (out / name).chmod(stat.S_IMODE(mode))

    def close(self) -> None:
        for descriptor in self._pins.values():
            os.close(descriptor)


def pictures(folder: Path, act: Callable[[], object]) -> Iterator[tuple[Path, bool]]:
    """What each power cut leaves of a folder while this is done, each once; and whether it was done."""
    out = folder.with_name("pictures")
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(folder, out, patch)
        act()
        disk.picture()
        disk.close()
    assert disk.taken > 3, "the simulation does not see what is written"
    seen: set[tuple[object, ...]] = set()
    for number in range(disk.taken):
        for loss in LOSSES:
            left, done = out / f"{number:03} {loss}", number == disk.taken - 1
            held = sorted((str(path.relative_to(left)), path.is_file()) for path in left.rglob("*"))
            state = (done, *((name, is_file and (left / name).read_bytes()) for name, is_file in held))
            if state not in seen:
                seen.add(state)
                yield left, done


@pytest.fixture
def folder(tmp_path: Path, toys: object) -> Path:  # noqa: ARG001 - puts toy parameters into the table
    """A folder on the disk under test."""
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


@pytest.fixture
def keys(folder: Path) -> Path:
    """Keys under the passphrase OLD, durable."""
    new_keys(folder / "keys", OLD, "TOY", scrypt_log2_n=QUICK)
    return folder / "keys"


def owners(keys: Path, passphrase: str) -> list[bytes]:
    return list(load_owners(keys, passphrase, least_scrypt_log2_n=QUICK))


def worker(keys: Path) -> str:
    return verification_key(load_signer(keys).public).id


def test_new_keys_are_there_once_they_are_made(folder: Path) -> None:
    """A power cut leaves all of them, or no public key whose secret is lost."""
    make = partial(new_keys, folder / "above" / "keys", OLD, "TOY", scrypt_log2_n=QUICK)
    for left, done in pictures(folder, make):
        keys = left / "above" / "keys"
        public = None
        with suppress(KeyFileError):
            public = load_public(keys)
        assert public or not done
        if public:
            owner = load_owner(keys, OLD, least_scrypt_log2_n=QUICK)
            assert (owner.key_id, len(load_site_secret(keys))) == (public.key_id, 32)
            assert (worker(keys),) == public.workers


def test_a_rotation_loses_no_key(folder: Path, keys: Path) -> None:
    """Whenever the power fails, every earlier key opens, and asking again finishes the rotation."""
    before = owners(keys, OLD)
    for left, done in pictures(folder, partial(rotate, keys, OLD, scrypt_log2_n=QUICK)):
        known = owners(left / "keys", OLD)
        assert set(before) <= set(known)
        if done:
            assert load_public(left / "keys").key_id == known[0] != before[0]
            assert not (left / "keys" / "owner" / "rotation").exists()
        made = rotate(left / "keys", OLD, scrypt_log2_n=QUICK)
        assert set(known) <= {made.key_id, *made.earlier} == set(owners(left / "keys", OLD))
        assert not (left / "keys" / "owner" / "rotation").exists()


def test_a_changed_passphrase_holds_once_it_is_changed(folder: Path, keys: Path) -> None:
    """Whenever the power fails, each file opens with one of the two; asking again finishes the change."""
    rotate(keys, OLD, scrypt_log2_n=QUICK)
    before = owners(keys, OLD)
    for left, done in pictures(folder, partial(change_passphrase, keys, OLD, NEW, scrypt_log2_n=QUICK)):
        if not done:
            change_passphrase(left / "keys", OLD, NEW, scrypt_log2_n=QUICK)
        assert owners(left / "keys", NEW) == before


def test_a_new_worker_is_never_named_without_its_key(folder: Path, keys: Path) -> None:
    """Asking again names a key that was made and not yet named."""
    (keys / "site" / "worker.key").unlink()
    for left, done in pictures(folder, partial(add_worker, keys, OLD, scrypt_log2_n=QUICK)):
        if not done:
            with suppress(KeyFileError):  # it was named already
                add_worker(left / "keys", OLD, scrypt_log2_n=QUICK)
        assert worker(left / "keys") == load_public(left / "keys").workers[-1]


def test_an_exported_bundle_appears_whole(folder: Path, keys: Path) -> None:
    """Folders above it that were missing included."""
    for left, done in pictures(folder, partial(export_public, keys, folder / "new" / "out")):
        assert (left / "new" / "out").exists() or not done
        if (left / "new" / "out").exists():
            assert load_public(left / "new" / "out").key_id == load_public(keys).key_id


def test_a_secret_is_nobody_elses_from_its_first_byte(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file has its final mode when it is opened, whatever the umask."""
    modes: dict[str, set[int]] = {}
    real = os.open

    def spy(path: Any, flags: int, *args: Any, **more: Any) -> int:
        descriptor = real(path, flags, *args, **more)
        if flags & os.O_CREAT:
            name = re.sub(r"^\.|\.[0-9a-f]{8}\.part$", "", Path(path).name)
            modes.setdefault(name, set()).add(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    umask = os.umask(0)
    try:
        monkeypatch.setattr(os, "open", spy)
        new_keys(folder / "keys", OLD, "TOY", scrypt_log2_n=QUICK)
        rotate(folder / "keys", OLD, scrypt_log2_n=QUICK)
        change_passphrase(folder / "keys", OLD, NEW, scrypt_log2_n=QUICK)
    finally:
        os.umask(umask)
    public = {name: modes.pop(name) for name in ("lwe.pub", "bundle.json", "bundle.pin")}
    (retired,) = (folder / "keys" / "owner" / "retired").iterdir()
    assert set(modes) == {"owner.key", "site.key", "worker.key", retired.name}
    assert set().union(*modes.values()) == {0o600}
    assert set().union(*public.values()) == {0o644}
