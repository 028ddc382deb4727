"""Somebody who can write a site's ``public/`` sends everything that is encrypted there to themselves.

Before bundles were signed, ``bundle.json`` and ``lwe.pub`` vouched only for each other. An attacker put their
own two files there, naming the site's own worker as before: the site encrypted features and sealed identities
under the attacker's keys, its worker signed the blocks, its index took them, and the attacker read them all.
The attacker has what is public, no file of ``owner/`` and no secret of ``site/``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import load
from pipeline.run.job import Job
from pipeline.run.preflight import CHECKS, Given
from stages.encrypt.keys.folder import new_generation, new_keys
from stages.encrypt.keys.rotation import rotate
from stages.encrypt.keys.signer import OwnerSigner
from stages.encrypt.keys.workers import add_worker, revoke_worker
from stages.encrypt.lwe.parameters import LWE32
from stages.encrypt.lwe.wire import encode_public_key
from stages.encrypt.options import EncryptOptions
from stages.encrypt.public.bundle import Bundle, hpke_id, parse_bundle, verification_key
from stages.encrypt.public.folder import load_public
from stages.encrypt.public.keyfiles import KeyFileError
from stages.encrypt.public.pin import BundleRefusedError
from stages.encrypt.public.signing import load_inspector
from stages.encrypt.stage import Encrypt
from stages.index.options import IndexOptions
from stages.index.stage import Append
from stages.ingest.options import IngestOptions
from stages.ingest.stage import Ingest

QUICK = 10  # scrypt n = 2^10


@dataclass(frozen=True)
class Attacker:
    """Keys of their own."""

    signer: OwnerSigner
    lwe: bytes
    keys: dict[str, Any]  # as a bundle's contents name them


@pytest.fixture(scope="module")
def attacker() -> Attacker:
    made = new_generation(LWE32, None, QUICK)
    keys = {"key_id": made.lwe.key_id.hex(), "hpke_id": hpke_id(made.hpke), "hpke_public": made.hpke}
    return Attacker(made.signer, encode_public_key(made.lwe), {**keys, "owner": made.signer.public})


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The key folder of an owner whose bundle was signed twice: number 2 names two workers."""
    keys = tmp_path_factory.mktemp("untouched") / "keys"
    new_keys(keys, None)
    shutil.copytree(keys / "site" / "public", keys / "first")
    (keys / "site" / "worker.key").unlink()
    add_worker(keys, None)
    return keys


@pytest.fixture
def keys(untouched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(untouched, tmp_path / "keys"))


def public(keys: Path) -> Path:
    return keys / "site" / "public"


def genuine(keys: Path) -> Bundle:
    bundle = parse_bundle((public(keys) / "bundle.json").read_bytes())
    assert bundle
    return bundle


def put(keys: Path, bundle: Bundle) -> None:
    (public(keys) / "bundle.json").write_bytes(bundle.encode())


def changed(bundle: Bundle, **changes: object) -> Bundle:
    """The bundle with other contents under the same signatures."""
    return bundle.model_copy(update={"contents": bundle.contents.model_copy(update=changes)})


def everything_exchanged(keys: Path, attacker: Attacker) -> None:
    """The attack: both files are the attacker's and agree; the site's workers are named, so appends go on."""
    mine = genuine(keys).contents.model_copy(update=attacker.keys)
    put(keys, attacker.signer.sign(mine))
    (public(keys) / "lwe.pub").write_bytes(attacker.lwe)


def the_owners_name_kept(keys: Path, attacker: Attacker) -> None:
    """The owner's public keys are named, and the attacker signs."""
    kept = {**attacker.keys, "owner": genuine(keys).contents.owner}
    put(keys, attacker.signer.sign(genuine(keys).contents.model_copy(update=kept)))
    (public(keys) / "lwe.pub").write_bytes(attacker.lwe)


def only_the_lwe_key(keys: Path, attacker: Attacker) -> None:
    """Features are the goal, the bundle stays."""
    (public(keys) / "lwe.pub").write_bytes(attacker.lwe)


def only_the_sealing_key(keys: Path, attacker: Attacker) -> None:
    """Identities are the goal."""
    mine = {name: attacker.keys[name] for name in ("hpke_id", "hpke_public")}
    put(keys, changed(genuine(keys), **mine))


def a_worker_by_hand(keys: Path, attacker: Attacker) -> None:  # noqa: ARG001
    """An attacker who wants to insert records only needs a key in the list."""
    bundle = genuine(keys)
    mine = verification_key(os.urandom(32))
    put(keys, changed(bundle, verification_keys=(*bundle.contents.verification_keys, mine)))


def an_older_bundle(keys: Path, attacker: Attacker) -> None:  # noqa: ARG001
    """Truly signed once: it brings back what was revoked since."""
    shutil.copytree(keys / "first", public(keys), dirs_exist_ok=True)


def an_older_bundle_renumbered(keys: Path, attacker: Attacker) -> None:
    """Nor does another number make it new."""
    an_older_bundle(keys, attacker)
    put(keys, changed(genuine(keys), number=9))


def without_one_signature(name: str) -> Callable[[Path, Attacker], None]:
    def strip(keys: Path, attacker: Attacker) -> None:  # noqa: ARG001
        document = json.loads((public(keys) / "bundle.json").read_bytes())
        del document["signatures"][name]
        (public(keys) / "bundle.json").write_text(json.dumps(document, indent=2) + "\n")

    return strip


def with_one_signature_of(name: str) -> Callable[[Path, Attacker], None]:
    """The other is the attacker's: one broken algorithm is not enough."""

    def exchange(keys: Path, attacker: Attacker) -> None:
        bundle = genuine(keys)
        mine = attacker.signer.sign(bundle.contents).signatures
        others = {one: getattr(mine, one) for one in ("ed25519", "ml_dsa_44") if one != name}
        put(keys, bundle.model_copy(update={"signatures": bundle.signatures.model_copy(update=others)}))

    return exchange


def an_unsigned_version(keys: Path, attacker: Attacker) -> None:
    """A downgrade: the format of before, which nobody signed."""
    workers = [{"id": key.id, "ed25519": "A" * 43 + "="} for key in genuine(keys).contents.verification_keys]
    document = {"format": "medsecure-public-bundle", "version": 2, "parameters": "LWE32"}
    document |= {"key_id": attacker.keys["key_id"], "verification_keys": workers}
    (public(keys) / "bundle.json").write_text(json.dumps(document))


ATTACKS = {
    "everything exchanged": (everything_exchanged, "it was exchanged"),
    "the owner's name kept": (the_owners_name_kept, "the owner's Ed25519 signature"),
    "only the LWE key": (only_the_lwe_key, r"lwe\.pub is not the key"),
    "only the sealing key": (only_the_sealing_key, "the owner's Ed25519 signature"),
    "a worker by hand": (a_worker_by_hand, "the owner's Ed25519 signature"),
    "an older bundle": (an_older_bundle, "number 1, and number 2 was seen"),
    "an older bundle, renumbered": (an_older_bundle_renumbered, "the owner's Ed25519 signature"),
    "no Ed25519": (without_one_signature("ed25519"), "was changed"),
    "no ML-DSA-44": (without_one_signature("ml_dsa_44"), "was changed"),
    "Ed25519 broken": (with_one_signature_of("ed25519"), "the owner's ML-DSA-44 signature"),
    "ML-DSA-44 broken": (with_one_signature_of("ml_dsa_44"), "the owner's Ed25519 signature"),
    "an unsigned version": (an_unsigned_version, "a version that nobody signed"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_exchanged_public_folder_is_refused(attack: str, keys: Path, attacker: Attacker) -> None:
    """In one sentence that names the file."""
    load_public(keys)
    act, sentence = ATTACKS[attack]
    act(keys, attacker)
    with pytest.raises(BundleRefusedError, match=sentence) as caught:
        load_public(keys)
    assert str(public(keys)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_of_a_run_opens_with_it(keys: Path, attacker: Attacker, tmp_path: Path) -> None:
    """Neither the stage that seals, nor the one that encrypts, nor the one that appends, nor the run."""
    everything_exchanged(keys, attacker)
    (tmp_path / "in").mkdir()
    folders = (tmp_path / "index", tmp_path / "results", keys / "site")
    given = Given(Job((str(tmp_path / "in"),), *folders, load(None, {})))
    (check,) = (one for one in CHECKS if one.name == "keys")
    openings: tuple[Callable[[], object], ...] = (
        lambda: Ingest(IngestOptions(), keys).open().__enter__(),
        lambda: Encrypt(EncryptOptions(), keys).open().__enter__(),
        lambda: Append(IndexOptions(), tmp_path / "index", keys, bytes(32), 256).open().__enter__(),
        lambda: check.run(given),
    )
    for opening in openings:
        with pytest.raises(BundleRefusedError, match="it was exchanged"):
            opening()
    assert not (tmp_path / "index").exists()


def test_the_owner_signs_nothing_on_top_of_it(keys: Path, attacker: Attacker) -> None:
    """Else the next rotation would vouch for whatever lies there; and no secret is changed."""
    for act, _ in ATTACKS.values():
        if act is only_the_lwe_key:
            continue  # no bundle names it, and the owner's next files replace it
        shutil.copytree(keys, keys.with_name("again"))
        act(keys, attacker)
        before = {file: file.read_bytes() for file in keys.rglob("*") if file.is_file()}
        for sign in (rotate, add_worker, lambda folder, given: revoke_worker(folder, "", given)):
            with pytest.raises(BundleRefusedError):
                sign(keys, None)
        assert {file: file.read_bytes() for file in keys.rglob("*") if file.is_file()} == before
        shutil.rmtree(keys)
        keys.with_name("again").rename(keys)


def test_the_owner_remembers_where_the_site_does_not(keys: Path) -> None:
    """A site folder of yesterday, pin and all, gets no new signature: the owner has a pin of their own."""
    site = keys / "site"
    shutil.copytree(site, keys / "yesterday")
    (site / "worker.key").unlink()
    add_worker(keys, None)
    shutil.rmtree(site)
    (keys / "yesterday").rename(site)
    load_public(keys)  # the site cannot know
    with pytest.raises(BundleRefusedError, match="number 2, and number 3 was seen"):
        rotate(keys, None)


def test_a_bundle_of_the_owners_other_site_is_refused(keys: Path) -> None:
    """Truly signed by the same owner, and newer: its workers are none of this site."""
    seed = json.loads((keys / "owner" / "owner.key").read_text())["protection"]["seed"]
    owner, contents = OwnerSigner(bytes.fromhex(seed)), genuine(keys).contents
    assert owner.public == contents.owner
    put(keys, owner.sign(contents.model_copy(update={"site_id": os.urandom(32).hex(), "number": 7})))
    with pytest.raises(BundleRefusedError, match="is for site"):
        load_public(keys)


def test_two_bundles_of_one_number_are_not_both_believed(keys: Path) -> None:
    """Signed by the owner from two copies of their folder: somebody has to ask which is right."""
    seed = json.loads((keys / "owner" / "owner.key").read_text())["protection"]["seed"]
    other = genuine(keys).contents.model_copy(update={"verification_keys": ()})
    put(keys, OwnerSigner(bytes.fromhex(seed)).sign(other))
    with pytest.raises(BundleRefusedError, match="another bundle of number 2"):
        load_public(keys)


def test_a_revoked_worker_stays_revoked(keys: Path) -> None:
    """Its entry cannot be put back, and its key is not named again."""
    before = (public(keys) / "bundle.json").read_bytes()
    gone, left = load_public(keys).workers
    assert revoke_worker(keys, left[:16], None) == left
    assert load_public(keys).workers == (gone,)
    assert load_public(keys).revoked == (left,)
    with pytest.raises(KeyFileError, match="was revoked"):
        add_worker(keys, None)
    (public(keys) / "bundle.json").write_bytes(before)
    with pytest.raises(BundleRefusedError, match="number 2, and number 3 was seen"):
        load_inspector(keys)
