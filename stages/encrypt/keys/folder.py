"""Key files: the owner's secret, the site's pseudonym secret, the worker's key, the public bundle.

A key folder holds ``owner/``, which goes home with the owner:

* ``owner.key``: one 32-byte master seed, under scrypt (RFC 7914) and AES-256-GCM, or in the clear where
  the owner chose no passphrase. The LWE secret, the seed of the LWE matrix and the HPKE private key are
  derived from it by HKDF-SHA256 (RFC 5869). It never leaves the owner's machine;
* ``retired/``: the owner keys of earlier generations (see ``rotation``), which open earlier records;

and ``site/``, which stays where images are encrypted:

* ``site.key``: 32 random bytes as hex, for the ingesting site's pseudonyms and tickets;
* ``worker.key``: what encrypting workers sign their blocks with (see ``worker``);
* ``public/``: ``lwe.pub`` and ``bundle.json`` (see ``public.bundle``), all that an index server may have.

``logs/`` in either is for what was last seen of each log. Both folders are their owner's only.

Secret files are created with mode 0600, never overwritten, and refused when others may read them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from pydantic import ValidationError

from stages.encrypt.keys.owner import SecretKey, expand_secret, generate
from stages.encrypt.keys.ownerfile import (
    SCRYPT_LOG2_N,
    OwnerFile,
    open_seed,
    protect_seed,
    refuse_short,
)
from stages.encrypt.keys.secretfiles import read_secret
from stages.encrypt.keys.worker import create_worker
from stages.encrypt.lwe import parameters as table
from stages.encrypt.lwe.parameters import LWE32, Parameters, known_parameters
from stages.encrypt.lwe.wire import LwePublicKey, encode_public_key
from stages.encrypt.public.bundle import make_bundle, verification_key
from stages.encrypt.public.folder import PublicKeys
from stages.encrypt.public.keyfiles import KeyFileError
from stages.encrypt.public.layout import (
    BUNDLE,
    LOGS,
    LWE,
    OWNER,
    OWNER_FOLDER,
    OWNERS_ONLY,
    PUBLIC_FOLDER,
    RETIRED,
    SITE,
    SITE_FOLDER,
    KeyFolders,
    owner_folder,
    taken,
)
from stages.files import SECRET, create, make_directory

_SECRET_BYTES: Final = 32


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
        create(halves.site / SITE, os.urandom(_SECRET_BYTES).hex().encode() + b"\n", SECRET)
        worker = verification_key(create_worker(halves.site))
        bundle = make_bundle(parameters, made.lwe.key_id, made.hpke, (worker,), made.created)
        create(public / LWE, encode_public_key(made.lwe))
        create(public / BUNDLE, bundle.encode())
    except OSError as error:
        raise KeyFileError(
            f"{directory} cannot take keys ({error.strerror}): choose another directory"
        ) from error
    return PublicKeys(made.lwe, made.hpke, made.lwe.key_id, bundle.hpke_id, (worker.id,))


def new_generation(parameters: Parameters, passphrase: str | None, scrypt_log2_n: int) -> Generation:
    """A fresh master seed and its keys."""
    seed = os.urandom(_SECRET_BYTES)
    lwe = generate(parameters, _derive(seed, "LWE secret"), _derive(seed, "LWE matrix"))
    created = datetime.now(UTC).isoformat(timespec="seconds")
    owner = protect_seed(
        seed,
        passphrase,
        parameters=parameters.name,
        key_id=lwe.key_id,
        created=created,
        log2_n=scrypt_log2_n,
    )
    return Generation(owner, lwe, _hpke_private(seed).public_key().public_bytes_raw(), created)


def load_owner(file: Path, passphrase: str | None, *, least_scrypt_log2_n: int = SCRYPT_LOG2_N) -> OwnerKeys:
    """The owner's keys from ``owner.key``, from the owner's folder, or from the key folder around it."""
    if file.is_dir():
        file = owner_folder(file) / OWNER
    parsed = read_owner(file)
    parameters = _named(parsed.parameters, file)
    seed = open_seed(parsed, file, passphrase, least_scrypt_log2_n)
    key_id = bytes.fromhex(parsed.key_id)
    secret = expand_secret(parameters, _derive(seed, "LWE secret"), key_id)
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


def read_owner(file: Path) -> OwnerFile:
    """An owner key file, still closed."""
    try:
        return OwnerFile.model_validate_json(read_secret(file))
    except ValidationError:
        raise KeyFileError(
            f"{file} is not an owner key file of this version: restore it from a copy"
        ) from None


def _named(parameters: str, file: Path | None = None) -> Parameters:
    for one in table.TABLE.values():
        if one.name == parameters:
            return one
    about = f"{file} is for" if file else "there is no"
    raise KeyFileError(
        f"{about} LWE parameter set {parameters}: this version knows {', '.join(known_parameters())}"
    )


def _derive(seed: bytes, purpose: str) -> bytes:
    """HKDF-Expand with the uniform master seed as pseudorandom key."""
    return HKDFExpand(SHA256(), _SECRET_BYTES, f"MedSecure-U v1 {purpose}".encode()).derive(seed)


def _hpke_private(seed: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(_derive(seed, "HPKE X25519"))
