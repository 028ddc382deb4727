"""Which workers a site's bundle names: the owner adds and revokes them, and signs the bundle anew."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from stages import files
from stages.encrypt.keys.folder import load_owner, owner_files
from stages.encrypt.keys.ownerfile import SCRYPT_LOG2_N, now, open_seed, read_owner
from stages.encrypt.keys.signer import OwnerSigner, open_signer, publish
from stages.encrypt.keys.worker import create_worker, load_signer
from stages.encrypt.public.bundle import (
    EarlierKey,
    RevokedKey,
    VerificationKey,
    verification_key,
)
from stages.encrypt.public.keyfiles import KeyFileError
from stages.encrypt.public.layout import (
    BUNDLE,
    LOGS,
    OWNER,
    OWNERS_ONLY,
    PIN,
    PUBLIC_FOLDER,
    WORKER,
    KeyFolders,
    key_folders,
)
from stages.encrypt.public.pin import pin_of


def add_worker(directory: Path, passphrase: str | None, *, scrypt_log2_n: int = SCRYPT_LOG2_N) -> str:
    """Make ``worker.key`` where there is none and name it in the bundle, beside those there; its id.

    A bundle of a version that nobody signed becomes the first that is signed; of its workers it names only
    the one whose key lies in this folder.
    """
    halves = key_folders(directory)
    if not (halves.owner / PIN).exists():
        return _sign_first(halves, passphrase, scrypt_log2_n)
    signer, contents = open_signer(halves, passphrase, scrypt_log2_n)
    worker = _worker(halves)
    if worker.id in {key.id for key in contents.revoked}:
        raise KeyFileError(f"{halves.site / WORKER} was revoked: remove it, and run this again for a new one")
    if worker in contents.verification_keys:
        raise KeyFileError(f"{halves.site / WORKER} exists already: keys are never overwritten")
    workers = (*contents.verification_keys, worker)
    publish(halves, signer.sign(contents.followed(now(), verification_keys=workers)))
    return worker.id


def revoke_worker(
    directory: Path, worker: str, passphrase: str | None, *, scrypt_log2_n: int = SCRYPT_LOG2_N
) -> str:
    """Name a worker's key, by its id or the id's beginning, as one whose new blocks are refused; its id."""
    halves = key_folders(directory)
    signer, contents = open_signer(halves, passphrase, scrypt_log2_n)
    found = [key for key in contents.verification_keys if worker and key.id.startswith(worker)]
    if len(found) != 1:
        named = ", ".join(key.id[:16] for key in contents.verification_keys) or "none"
        raise KeyFileError(f"the bundle names {len(found)} workers {worker!r}; its workers are {named}")
    (gone,) = found
    left = tuple(key for key in contents.verification_keys if key != gone)
    revoked = (*contents.revoked, RevokedKey(id=gone.id, ed25519=gone.ed25519, until=now()))
    publish(halves, signer.sign(contents.followed(now(), verification_keys=left, revoked=revoked)))
    return gone.id


def _worker(halves: KeyFolders) -> VerificationKey:
    there = (halves.site / WORKER).exists()
    return verification_key(load_signer(halves.site).public if there else create_worker(halves.site))


def _sign_first(halves: KeyFolders, passphrase: str | None, scrypt_log2_n: int) -> str:
    """Sign for a folder of an earlier version: from the owner's own files, never from its unsigned bundle."""
    keys = load_owner(halves.owner, passphrase, least_scrypt_log2_n=scrypt_log2_n)
    generations = sorted(owner_files(halves.owner)[1:], key=lambda file: read_owner(file).created)
    generations.append(halves.owner / OWNER)
    parsed = [read_owner(file) for file in generations]
    earlier = [EarlierKey(key_id=old.key_id, until=new.created) for old, new in pairwise(parsed)]
    signer = OwnerSigner(open_seed(parsed[0], generations[0], passphrase, scrypt_log2_n))
    hpke = keys.hpke.public_key().public_bytes_raw()
    worker = _worker(halves)
    bundle = signer.sign_first(parsed[-1].parameters, keys.key_id, hpke, worker, tuple(earlier[::-1]))
    files.write_whole(halves.site / PUBLIC_FOLDER / BUNDLE, bundle.encode())
    for half in (halves.site, halves.owner):  # the owner's last: without it all of this is done again
        files.make_directory(half / LOGS, OWNERS_ONLY)
        files.write_whole(half / PIN, pin_of(bundle).encode())
    return worker.id
