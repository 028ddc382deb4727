"""Key files: the owner's secret, the site's pseudonym secret, the worker's key, the public bundle.

A key folder holds ``owner/``, which the owner keeps elsewhere:

* ``owner.key``: one 32-byte master seed, under scrypt (RFC 7914) and AES-256-GCM, or in the clear where
  the owner chose no passphrase. The LWE secret, the seed of the LWE matrix, the HPKE private key and the
  signing keys (see ``signer``) are derived from it by HKDF-SHA256 (RFC 5869). It never leaves the owner's
  machine;
* ``retired/``: the owner keys of earlier generations (see ``rotation``), which open earlier records;

and ``site/``, which stays where images are encrypted:

* ``site.key``: 32 random bytes as hex, for the ingesting site's pseudonyms and tickets;
* ``worker.key``: what encrypting workers sign their blocks with (see ``worker``);
* ``public/``: ``lwe.pub`` and ``bundle.json`` (see ``public.bundle``), all that an index server may have.

``bundle.pin`` in either says whose bundle is accepted there (see ``public.pin``); ``logs/`` is for what was
last seen of each log. Both folders are their owner's only.

Secret files are created with mode 0600, never overwritten, and refused when others may read them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from stages.encrypt.keys.owner import SecretKey, expand_secret, generate
from stages.encrypt.keys.ownerfile import (
    SCRYPT_LOG2_N,
    SEED_BYTES,
    OwnerFile,
    derive,
    now,
    open_seed,
    protect_seed,
    read_owner,
    refuse_short,
)
from stages.encrypt.keys.signer import OwnerSigner
from stages.encrypt.keys.site import SITE_BYTES
from stages.encrypt.keys.worker import create_worker
from stages.encrypt.lwe import parameters as table
from stages.encrypt.lwe.parameters import LWE32, Parameters, known_parameters
from stages.encrypt.lwe.wire import LwePublicKey, encode_public_key
from stages.encrypt.public.bundle import verification_key
from stages.encrypt.public.folder import PublicKeys, load_public
from stages.encrypt.public.keyfiles import KeyFileError
from stages.encrypt.public.layout import (
    BUNDLE,
    LOGS,
    LWE,
    OWNER,
    OWNER_FOLDER,
    OWNERS_ONLY,
    PIN,
    PUBLIC_FOLDER,
    RETIRED,
    SITE,
    SITE_FOLDER,
    KeyFolders,
    owner_folder,
    taken,
)
from stages.encrypt.public.pin import pin_of
from stages.files import SECRET, create, make_directory


@dataclass(frozen=True, slots=True)
class OwnerKeys:
    """What opens the index: stays in the key holder's process."""

    lwe: SecretKey = field(repr=False)
    hpke: X25519PrivateKey = field(repr=False)
    key_id: bytes


@dataclass(frozen=True, slots=True)
class Generation:
    """One master seed's files, not written yet: the secret one, and what is public of it."""

    owner: OwnerFile = field(repr=False)
    signer: OwnerSigner = field(repr=False)  # of the seed; the site's only where this is the first generation
    lwe: LwePublicKey
    hpke: bytes
    created: str


def new_keys(
    directory: Path,
    passphrase: str | None,
    parameters: str = LWE32.name,
    *,
    scrypt_log2_n: int = SCRYPT_LOG2_N,
) -> PublicKeys:
    """Make all keys of one owner and site; without a passphrase the master seed is stored in the clear."""
    if there := taken(directory):
        raise KeyFileError(f"{there} exists already: keys are never overwritten, choose another directory")
    if passphrase is not None:
        refuse_short(passphrase)
    made = new_generation(_named(parameters), passphrase, scrypt_log2_n)
    halves = KeyFolders(directory / OWNER_FOLDER, directory / SITE_FOLDER)
    public = halves.site / PUBLIC_FOLDER
    try:
        for half in (halves.owner, halves.site):
            make_directory(half, OWNERS_ONLY)
            make_directory(half / LOGS, OWNERS_ONLY)
        make_directory(halves.owner / RETIRED, OWNERS_ONLY)
        make_directory(public)
        # The secrets first: what a public key encrypts whose secret was never written is lost.
        create(halves.owner / OWNER, made.owner.encode(), SECRET)
        create(halves.site / SITE, os.urandom(SITE_BYTES).hex().encode() + b"\n", SECRET)
        worker = verification_key(create_worker(halves.site))
        bundle = made.signer.sign_first(parameters, made.lwe.key_id, made.hpke, worker)
        create(public / LWE, encode_public_key(made.lwe))
        for half in (halves.owner, halves.site):
            create(half / PIN, pin_of(bundle).encode())
        create(public / BUNDLE, bundle.encode())
    except OSError as error:
        raise KeyFileError(
            f"{directory} cannot take keys ({error.strerror}): choose another directory"
        ) from error
    return load_public(halves.site)


def new_generation(parameters: Parameters, passphrase: str | None, scrypt_log2_n: int) -> Generation:
    """A fresh master seed and its keys."""
    seed = os.urandom(SEED_BYTES)
    lwe = generate(parameters, derive(seed, "LWE secret"), derive(seed, "LWE matrix"))
    created = now()
    owner = protect_seed(
        seed,
        passphrase,
        parameters=parameters.name,
        key_id=lwe.key_id,
        created=created,
        log2_n=scrypt_log2_n,
    )
    hpke = _hpke_private(seed).public_key().public_bytes_raw()
    return Generation(owner, OwnerSigner(seed), lwe, hpke, created)


def load_owner(file: Path, passphrase: str | None, *, least_scrypt_log2_n: int = SCRYPT_LOG2_N) -> OwnerKeys:
    """The owner's keys from ``owner.key``, from the owner's folder, or from the key folder around it."""
    if file.is_dir():
        file = owner_folder(file) / OWNER
    parsed = read_owner(file)
    parameters = _named(parsed.parameters, file)
    seed = open_seed(parsed, file, passphrase, least_scrypt_log2_n)
    key_id = bytes.fromhex(parsed.key_id)
    secret = expand_secret(parameters, derive(seed, "LWE secret"), key_id)
    return OwnerKeys(secret, _hpke_private(seed), key_id)


def load_owners(
    path: Path, passphrase: str | None, *, least_scrypt_log2_n: int = SCRYPT_LOG2_N
) -> dict[bytes, OwnerKeys]:
    """By key id: all generations of an owner's folder, the current one first; of a file, the one it holds."""
    files = owner_files(owner_folder(path)) if path.is_dir() else [path]
    loaded = [load_owner(file, passphrase, least_scrypt_log2_n=least_scrypt_log2_n) for file in files]
    return {keys.key_id: keys for keys in loaded}


def owner_files(owner: Path) -> list[Path]:
    """The key files of all generations, the current one first."""
    return [owner / OWNER, *sorted((owner / RETIRED).glob("*.key"))]


def _named(parameters: str, file: Path | None = None) -> Parameters:
    for one in table.TABLE.values():
        if one.name == parameters:
            return one
    about = f"{file} is for" if file else "there is no"
    raise KeyFileError(
        f"{about} LWE parameter set {parameters}: this version knows {', '.join(known_parameters())}"
    )


def _hpke_private(seed: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(derive(seed, "HPKE X25519"))
