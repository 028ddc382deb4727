"""Key files: the owner's secret, the site's pseudonym secret, the public bundle.

A key directory holds

* ``owner.key``: one 32-byte master seed, under scrypt (RFC 7914) and AES-256-GCM, or in the clear where
  the owner chose no passphrase. The LWE secret, the seed of the LWE matrix and the HPKE private key are
  derived from it by HKDF-SHA256 (RFC 5869). It never leaves the owner's machine;
* ``site.key``: 32 random bytes as hex, for the ingesting site's pseudonyms and tickets;
* ``public/``: ``lwe.pub`` and ``bundle.json``, all that an encrypting worker may have.

Secret files are created with mode 0600, never overwritten, and refused when others may read them.
"""

from __future__ import annotations

import base64
import os
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from pydantic import Base64Bytes, BaseModel, ConfigDict, ValidationError

from stages.encrypt.errors import PublicKeyError
from stages.encrypt.owner import SecretKey, expand_secret, generate
from stages.encrypt.ownerfile import (
    SCRYPT_LOG2_N,
    KeyFileError,
    OwnerFile,
    PassphraseNeededError,
    open_seed,
    protect_seed,
)
from stages.encrypt.parameters import LWE32
from stages.encrypt.wire import PublicKey, decode_public_key, encode_public_key

_OWNER: Final = "owner.key"
_SITE: Final = "site.key"
_PUBLIC: Final = "public"
_LWE: Final = "lwe.pub"
_BUNDLE: Final = "bundle.json"
_SECRET_BYTES: Final = 32

__all__ = [
    "KeyFileError",
    "OwnerKeys",
    "PassphraseNeededError",
    "PublicKeys",
    "load_owner",
    "load_public",
    "load_site_secret",
    "new_keys",
]


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """What an encrypting worker holds: nothing secret."""

    lwe: PublicKey
    hpke: bytes  # raw X25519 public key
    key_id: bytes  # SHA-256 of the LWE public key's bytes


@dataclass(frozen=True, slots=True)
class OwnerKeys:
    """What opens the index: stays in the key holder's process."""

    lwe: SecretKey = field(repr=False)
    hpke: X25519PrivateKey = field(repr=False)
    key_id: bytes


class _Bundle(BaseModel):
    """``bundle.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["medsecure-public-bundle"] = "medsecure-public-bundle"
    version: Literal[1] = 1
    parameters: str
    key_id: str
    hpke_suite: Literal["X25519, HKDF-SHA256, AES-256-GCM"] = "X25519, HKDF-SHA256, AES-256-GCM"
    hpke_public: Base64Bytes
    created: str


def new_keys(directory: Path, passphrase: str | None, *, scrypt_log2_n: int = SCRYPT_LOG2_N) -> PublicKeys:
    """Make all keys of one owner and site; without a passphrase the master seed is stored in the clear."""
    for name in (_OWNER, _SITE, _PUBLIC):
        if (directory / name).exists():
            raise KeyFileError(
                f"{directory / name} exists already: keys are never overwritten, choose another directory"
            )
    seed = os.urandom(_SECRET_BYTES)
    lwe = generate(LWE32, _derive(seed, "LWE secret"), _derive(seed, "LWE matrix"))
    hpke = _hpke_private(seed).public_key().public_bytes_raw()
    created = datetime.now(UTC).isoformat(timespec="seconds")
    owner = protect_seed(
        seed,
        passphrase,
        parameters=lwe.parameters.name,
        key_id=lwe.key_id,
        created=created,
        log2_n=scrypt_log2_n,
    )
    bundle = _Bundle(
        parameters=lwe.parameters.name,
        key_id=lwe.key_id.hex(),
        hpke_public=base64.b64encode(hpke),
        created=created,
    )
    try:
        (directory / _PUBLIC).mkdir(parents=True)
        # The secret first: a public key whose secret was never written would encrypt for nobody.
        _create(directory / _OWNER, owner.model_dump_json(indent=2).encode(), 0o600)
        _create(directory / _SITE, os.urandom(_SECRET_BYTES).hex().encode() + b"\n", 0o600)
        _create(directory / _PUBLIC / _LWE, encode_public_key(lwe), 0o644)
        _create(directory / _PUBLIC / _BUNDLE, bundle.model_dump_json(indent=2).encode(), 0o644)
    except OSError as error:
        raise KeyFileError(
            f"{directory} cannot take keys ({error.strerror}): choose another directory"
        ) from error
    return PublicKeys(lwe, hpke, lwe.key_id)


def load_public(directory: Path) -> PublicKeys:
    """The public bundle of a key directory, or of its ``public`` folder."""
    folder = directory / _PUBLIC if (directory / _PUBLIC).is_dir() else directory
    data = _read(folder / _BUNDLE, "make keys with 'medsecure keys new'")
    try:
        bundle = _Bundle.model_validate_json(data)
    except ValidationError:
        raise KeyFileError(
            f"{folder / _BUNDLE} is not a public bundle of this version: copy it again"
        ) from None
    try:
        lwe = decode_public_key(_read(folder / _LWE, "copy the whole public folder"))
    except PublicKeyError as error:
        raise KeyFileError(f"{folder / _LWE}: {error}") from error
    if lwe.key_id.hex() != bundle.key_id or lwe.parameters.name != bundle.parameters:
        raise KeyFileError(
            f"{folder / _LWE} is not the key that {_BUNDLE} names: copy the public folder again"
        )
    if len(bundle.hpke_public) != _SECRET_BYTES:
        raise KeyFileError(f"{folder / _BUNDLE} holds no X25519 public key: copy the public folder again")
    return PublicKeys(lwe, bundle.hpke_public, lwe.key_id)


def load_site_secret(directory: Path) -> bytes:
    """The site's 32 secret bytes, from the key directory or, given its ``public`` folder, from beside it."""
    file = directory / _SITE
    if not file.exists() and (directory.resolve().parent / _SITE).exists():
        file = directory.resolve().parent / _SITE
    text = _read_secret(file)
    try:
        secret = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        secret = b""
    if len(secret) != _SECRET_BYTES:
        raise KeyFileError(
            f"{file} does not hold {2 * _SECRET_BYTES} hexadecimal digits: restore it from a copy"
        )
    return secret


def load_owner(file: Path, passphrase: str | None, *, least_scrypt_log2_n: int = SCRYPT_LOG2_N) -> OwnerKeys:
    """The owner's keys from ``owner.key``, or from a directory that holds it."""
    if file.is_dir():
        file = file / _OWNER
    try:
        parsed = OwnerFile.model_validate_json(_read_secret(file))
    except ValidationError:
        raise KeyFileError(
            f"{file} is not an owner key file of this version: restore it from a copy"
        ) from None
    if parsed.parameters != LWE32.name:
        raise KeyFileError(
            f"{file} is for LWE parameter set {parsed.parameters}, which this version does not know"
        )
    seed = open_seed(parsed, file, passphrase, least_scrypt_log2_n)
    key_id = bytes.fromhex(parsed.key_id)
    return OwnerKeys(expand_secret(LWE32, _derive(seed, "LWE secret"), key_id), _hpke_private(seed), key_id)


def _derive(seed: bytes, purpose: str) -> bytes:
    """HKDF-Expand with the uniform master seed as pseudorandom key."""
    return HKDFExpand(SHA256(), _SECRET_BYTES, f"MedSecure-U v1 {purpose}".encode()).derive(seed)


def _hpke_private(seed: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(_derive(seed, "HPKE X25519"))


def _create(file: Path, data: bytes, mode: int) -> None:
    """Write a new file, durable on return; the mode holds from the first byte on."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _read(file: Path, advice: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{file} cannot be read ({error.strerror}): {advice}") from error


def _read_secret(file: Path) -> bytes:
    """The bytes of a file that only its owner may read."""
    try:
        with file.open("rb") as stream:
            if stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077:
                raise KeyFileError(f"{file} is open to other users: run 'chmod 600 {file}'")
            return stream.read()
    except OSError as error:
        raise KeyFileError(
            f"{file} cannot be read ({error.strerror}): name the owner's key directory"
        ) from error
