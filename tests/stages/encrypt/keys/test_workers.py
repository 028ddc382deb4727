"""Workers are added and revoked by the owner, who signs the bundle anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stages.encrypt.keys import folder, workers
from stages.encrypt.keys.folder import load_owners, new_keys
from stages.encrypt.keys.ownerfile import PassphraseNeededError
from stages.encrypt.keys.rotation import export_public, rotate
from stages.encrypt.keys.worker import load_signer
from stages.encrypt.keys.workers import add_worker, revoke_worker
from stages.encrypt.public.bundle import verification_key
from stages.encrypt.public.folder import load_public
from stages.encrypt.public.keyfiles import KeyFileError
from stages.encrypt.public.pin import BundleRefusedError, read_bundle, read_pin
from stages.encrypt.public.signing import load_inspector

QUICK = 10  # scrypt n = 2^10 for tests
OLD = "the old passphrase"


def of_before(keys: Path) -> None:
    """Make the folder one whose bundle nobody signed, and whose bundle names a stranger."""
    file = keys / "site" / "public" / "bundle.json"
    document = {**json.loads(file.read_text())["contents"], "version": 2, "format": "medsecure-public-bundle"}
    document["verification_keys"].append({"id": "00" * 32, "ed25519": "A" * 43 + "="})
    file.write_text(json.dumps(document))
    for half in ("owner", "site"):
        (keys / half / "bundle.pin").unlink()
        (keys / half / "logs").rmdir()


def test_a_key_folder_of_before_is_signed(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same keys, rotated ones included; of the workers only the one whose key lies there is believed."""
    for year in (2027, 2028):
        monkeypatch.setattr(folder, "now", lambda year=year: f"{year}-01-01T00:00:00+00:00")
        rotate(keys, None)
    before, bundle = load_public(keys), read_bundle(keys)
    of_before(keys)
    for load in (load_public, load_inspector):
        with pytest.raises(BundleRefusedError, match="nobody signed: run 'medsecure keys add-worker'"):
            load(keys)
    name = add_worker(keys, None)
    after = load_public(keys)
    assert (after.key_id, after.hpke, after.owner_id) == (before.key_id, before.hpke, before.owner_id)
    assert after.workers == (name,) == before.workers
    assert read_bundle(keys).contents.earlier == bundle.contents.earlier
    assert after.number == 1
    rotate(keys, None)
    assert load_public(keys).owner_id == before.owner_id


def test_an_interrupted_first_signature_is_made_again(keys: Path) -> None:
    """The owner's pin is written last: until then nothing of the folder is believed."""
    of_before(keys)
    add_worker(keys, None)
    (keys / "owner" / "bundle.pin").unlink()
    add_worker(keys, None)
    assert read_pin(keys / "owner") == read_pin(keys / "site")
    load_public(keys)


def test_a_lost_worker_key_is_replaced_beside_the_old_one(keys: Path) -> None:
    """Blocks of the old one are still taken; a key that is there is never overwritten."""
    (old,) = load_public(keys).workers
    with pytest.raises(KeyFileError, match="never overwritten"):
        add_worker(keys, None)
    (keys / "site" / "worker.key").unlink()
    new = add_worker(keys, None)
    assert load_public(keys).workers == (old, new)
    assert load_public(keys).number == 2
    assert read_pin(keys / "owner") == read_pin(keys / "site")


def test_a_worker_is_added_where_the_owners_key_is(keys: Path) -> None:
    """A site's folder alone, an exported one included, signs nothing and gets no secret."""
    export_public(keys, keys.with_name("exported"))
    for half in (keys.with_name("exported"), keys / "site", keys / "site" / "public"):
        with pytest.raises(KeyFileError, match=r"name the folder that holds owner/ and site/"):
            add_worker(half, None)
    assert not (keys.with_name("exported") / "worker.key").exists()
    assert {file.name for file in (keys / "site" / "public").iterdir()} == {"lwe.pub", "bundle.json"}


def test_an_interrupted_add_worker_is_finished_by_the_next(keys: Path) -> None:
    """A worker.key that the bundle does not name yet is named."""
    (keys / "site" / "worker.key").unlink()
    workers.create_worker(keys / "site")
    public = load_signer(keys).public
    assert add_worker(keys, None) == verification_key(public).id


def test_a_worker_is_revoked_by_how_its_id_begins(keys: Path) -> None:
    """One, and only one; otherwise none is, and the bundle stays as it was."""
    (old,) = load_public(keys).workers
    with pytest.raises(KeyFileError, match="names 0 workers ''"):
        revoke_worker(keys, "", None)
    (keys / "site" / "worker.key").unlink()
    new = add_worker(keys, None)
    for unclear in ("", "zz", old + "00"):
        with pytest.raises(KeyFileError, match=rf"its workers are {old[:16]}, {new[:16]}"):
            revoke_worker(keys, unclear, None)
    assert load_public(keys).number == 2
    assert revoke_worker(keys, old[:12], None) == old
    public = load_public(keys)
    assert (public.workers, public.revoked, public.number) == ((new,), (old,), 3)
    (revoked,) = read_bundle(keys).contents.revoked
    assert verification_key(revoked.ed25519).id == old


def test_the_first_generation_signs_after_a_rotation(toys: object, tmp_path: Path) -> None:  # noqa: ARG001
    """Under its passphrase, and only while its key is there: it is kept in retired/."""
    keys = tmp_path / "keys"
    new_keys(keys, OLD, "TOY", scrypt_log2_n=QUICK)
    first = load_public(keys).workers[0]
    with pytest.raises(PassphraseNeededError):
        revoke_worker(keys, first, None, scrypt_log2_n=QUICK)
    with pytest.raises(KeyFileError, match="passphrase is wrong"):
        revoke_worker(keys, first, "another passphrase", scrypt_log2_n=QUICK)
    rotate(keys, OLD, scrypt_log2_n=QUICK)
    (retired,) = (keys / "owner" / "retired").iterdir()
    retired.rename(tmp_path / retired.name)
    with pytest.raises(KeyFileError, match=f"{retired.name} cannot be read"):
        revoke_worker(keys, first, OLD, scrypt_log2_n=QUICK)
    (tmp_path / retired.name).rename(retired)
    rotate(keys, OLD, scrypt_log2_n=QUICK)
    assert revoke_worker(keys, first, OLD, scrypt_log2_n=QUICK) == first
    assert len(load_owners(keys, OLD, least_scrypt_log2_n=QUICK)) == 3
