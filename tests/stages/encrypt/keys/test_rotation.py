from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.encrypt.keys import owner as owner_side
from stages.encrypt.keys.folder import load_owner, load_owners, new_keys, read_owner
from stages.encrypt.keys.rotation import change_passphrase, export_public, rotate
from stages.encrypt.keys.site import load_site_secret
from stages.encrypt.keys.worker import load_signer
from stages.encrypt.lwe.parameters import Parameters
from stages.encrypt.lwe.scheme import Encryptor
from stages.encrypt.public.folder import load_public
from stages.encrypt.public.keyfiles import KeyFileError

QUICK = 10  # scrypt n = 2^10 for tests
OLD, NEW = "the old passphrase", "the new passphrase"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, toy: Parameters) -> Path:
    directory = tmp_path_factory.mktemp("original") / "keys"
    new_keys(directory, OLD, toy.name, scrypt_log2_n=QUICK)
    return directory


@pytest.fixture
def keys(original: Path, tmp_path: Path) -> Path:
    """A key folder under the passphrase OLD, to be changed."""
    return Path(shutil.copytree(original, tmp_path / "keys"))


def owners(directory: Path, passphrase: str | None) -> list[bytes]:
    return list(load_owners(directory, passphrase, least_scrypt_log2_n=QUICK))


def test_a_rotated_folder_opens_both_generations(keys: Path) -> None:
    """What either public key encrypts is decrypted by the generation of that id; the site stays the same."""
    before, site, worker = load_public(keys), load_site_secret(keys), load_signer(keys).public
    after = rotate(keys, OLD, scrypt_log2_n=QUICK)
    assert after.key_id != before.key_id
    assert after.hpke_id != before.hpke_id
    assert after.earlier == (before.key_id,)
    assert (after.owner_id, after.site_id) == (before.owner_id, before.site_id)
    assert (before.number, after.number) == (1, 2)
    assert load_public(keys).key_id == after.key_id
    assert (load_site_secret(keys), load_signer(keys).public) == (site, worker)
    ring = load_owners(keys, OLD, least_scrypt_log2_n=QUICK)
    assert list(ring) == [after.key_id, before.key_id]
    for public in (before, after):
        made = Encryptor(public.lwe).encrypt(np.array([[-5, 0, 9]]), slot=7, scale=20)
        opened = owner_side.decrypt(ring[public.key_id].lwe, made.header, made.head_Dn, made.columns_ND)
        assert opened.tolist() == [[-5, 0, 9]]
    assert owners(keys / "owner" / "owner.key", OLD) == [after.key_id]
    modes = {stat.S_IMODE(file.stat().st_mode) for file in keys.rglob("*.key")}
    assert modes == {0o600}


def test_rotating_twice_names_all_earlier_keys(keys: Path) -> None:
    """Newest first, and none of them is forgotten."""
    first = load_public(keys).key_id
    second = rotate(keys, OLD, scrypt_log2_n=QUICK).key_id
    assert rotate(keys, OLD, scrypt_log2_n=QUICK).earlier == (second, first)
    assert set(owners(keys, OLD)) > {first, second}


def test_a_wrong_passphrase_rotates_nothing(keys: Path) -> None:
    """Every file is as it was."""
    before = {file: file.read_bytes() for file in keys.rglob("*") if file.is_file()}
    with pytest.raises(KeyFileError, match="passphrase is wrong"):
        rotate(keys, "other", scrypt_log2_n=QUICK)
    assert {file: file.read_bytes() for file in keys.rglob("*") if file.is_file()} == before


class PowerCut(BaseException):
    """The process is gone."""


def after(calls: int, real: Callable[[Path, Path], object]) -> Callable[[Path, Path], None]:
    """A rename that works so many times, and then never again."""
    left = [calls]

    def move(source: Path, target: Path) -> None:
        if not left[0]:
            raise PowerCut
        left[0] -= 1
        real(source, target)

    return move


@pytest.mark.parametrize("renames", range(11))
def test_an_interrupted_rotation_is_finished_by_the_next(
    keys: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    """Killed before any of its renames, no key is lost, and the folder is whole after asking again."""
    first = load_public(keys).key_id
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", after(renames, Path.replace))
        if renames < 10:
            with pytest.raises(PowerCut):
                rotate(keys, OLD, scrypt_log2_n=QUICK)
        else:
            rotate(keys, OLD, scrypt_log2_n=QUICK)
    assert first in owners(keys, OLD)
    known = set(owners(keys, OLD))
    made = rotate(keys, OLD, scrypt_log2_n=QUICK)
    assert first in made.earlier
    assert known <= {made.key_id, *made.earlier}
    assert owners(keys, OLD)[0] == made.key_id
    assert not (keys / "owner" / "rotation").exists()


def test_a_changed_passphrase_opens_every_generation(keys: Path) -> None:
    """The old one opens nothing any more; the ids stay."""
    rotate(keys, OLD, scrypt_log2_n=QUICK)
    before = owners(keys, OLD)
    assert change_passphrase(keys, OLD, NEW, scrypt_log2_n=QUICK) == 2
    assert owners(keys, NEW) == before
    with pytest.raises(KeyFileError, match="passphrase is wrong"):
        load_owner(keys, OLD, least_scrypt_log2_n=QUICK)
    assert stat.S_IMODE((keys / "owner" / "owner.key").stat().st_mode) == 0o600


def test_a_passphrase_is_removed_and_given_again(keys: Path) -> None:
    """Without one, the file says so itself."""
    before = owners(keys, OLD)
    change_passphrase(keys, OLD, None, scrypt_log2_n=QUICK)
    assert owners(keys, None) == before
    assert "NONE" in read_owner(keys / "owner" / "owner.key").protection.kind
    change_passphrase(keys, None, "five words, once more", scrypt_log2_n=QUICK)
    assert owners(keys, "five words, once more") == before


@pytest.mark.parametrize("wrong", [None, "", "wrong"])
def test_a_wrong_old_passphrase_changes_nothing(keys: Path, wrong: str | None) -> None:
    """Nor does a new one that is too short."""
    before = (keys / "owner" / "owner.key").read_bytes()
    with pytest.raises(KeyFileError, match="passphrase"):
        change_passphrase(keys, wrong, NEW, scrypt_log2_n=QUICK)
    with pytest.raises(KeyFileError, match="needs 15"):
        change_passphrase(keys, OLD, "fourteen chars", scrypt_log2_n=QUICK)
    assert (keys / "owner" / "owner.key").read_bytes() == before


def test_an_interrupted_change_is_finished_by_the_next(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every moment each file opens with the old passphrase or the new one."""
    rotate(keys, OLD, scrypt_log2_n=QUICK)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", after(1, Path.replace))
        with pytest.raises(PowerCut):
            change_passphrase(keys, OLD, NEW, scrypt_log2_n=QUICK)
    load_owner(keys, NEW, least_scrypt_log2_n=QUICK)
    assert change_passphrase(keys, OLD, NEW, scrypt_log2_n=QUICK) == 1
    assert len(owners(keys, NEW)) == 2


def test_a_new_file_is_private_even_under_umask_0(keys: Path) -> None:
    """As when it was made."""
    previous = os.umask(0)
    try:
        change_passphrase(keys, OLD, NEW, scrypt_log2_n=QUICK)
        rotate(keys, NEW, scrypt_log2_n=QUICK)
    finally:
        os.umask(previous)
    for file in (keys / "owner").rglob("*.key"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_exported_bundle_is_the_public_one_and_nothing_else(keys: Path, tmp_path: Path) -> None:
    """It serves a worker or an index server, and is never written over."""
    export_public(keys, tmp_path / "out" / "for-server")
    names = {file.name for file in (tmp_path / "out").rglob("*.*")}
    assert names == {"lwe.pub", "bundle.json", "bundle.pin"}
    assert load_public(tmp_path / "out" / "for-server").key_id == load_public(keys).key_id
    for taken in (tmp_path / "out" / "for-server", keys):
        with pytest.raises(KeyFileError, match="exists already"):
            export_public(keys, taken)
