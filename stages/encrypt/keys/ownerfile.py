"""The format of ``owner.key``: a 32-byte master seed as JSON, protected by a passphrase or marked as clear.

With a passphrase: scrypt (RFC 7914, r = 8, p = 1) of its NFC form in UTF-8 gives the key of AES-256-GCM
over the seed; everything else in the file is associated data. Without: the seed in hex, and an
HMAC-SHA-256 under it over everything else, so that damage never becomes a wrong key.
"""

from __future__ import annotations

import hmac
import os
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stages.encrypt.keys.secretfiles import read_secret
from stages.encrypt.public.bundle import Hex32
from stages.encrypt.public.keyfiles import KeyFileError

SEED_BYTES: Final = 32
SCRYPT_LOG2_N: Final = 17  # 128 MiB and about half a second: OWASP's recommendation for r = 8, p = 1
_MOST_SCRYPT_LOG2_N: Final = 20  # 1 GiB: a hostile file must not exhaust memory
LEAST_CHARACTERS: Final = 15  # NIST SP 800-63B-4, 3.1.1.2: of a password that stands alone
_R: Final = 8
_P: Final = 1

_Hex16 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
_Hex12 = Annotated[str, Field(pattern="^[0-9a-f]{24}$")]
_Hex48 = Annotated[str, Field(pattern="^[0-9a-f]{96}$")]


class PassphraseNeededError(KeyFileError):
    """The file is protected and no passphrase was given."""


class Passphrase(BaseModel):
    """The seed under a passphrase."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["scrypt+aes-256-gcm"] = "scrypt+aes-256-gcm"
    log2_n: int
    salt: _Hex16
    nonce: _Hex12
    box: _Hex48  # ciphertext and tag


class Clear(BaseModel):
    """The seed for everybody who can read the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["NONE: this file alone opens the index"] = "NONE: this file alone opens the index"
    seed: Hex32
    check: Hex32


class OwnerFile(BaseModel):
    """``owner.key``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["medsecure-owner-key"] = "medsecure-owner-key"
    version: Literal[1] = 1
    parameters: str
    key_id: Hex32
    created: str
    protection: Annotated[Passphrase | Clear, Field(discriminator="kind")]

    def encode(self) -> bytes:
        """The file's bytes."""
        return self.model_dump_json(indent=2).encode()


def read_owner(file: Path) -> OwnerFile:
    """An owner key file, still closed."""
    try:
        return OwnerFile.model_validate_json(read_secret(file))
    except ValidationError:
        raise KeyFileError(
            f"{file} is not an owner key file of this version: restore it from a copy"
        ) from None


def now() -> str:
    """The time as key files state it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def derive(seed: bytes, purpose: str) -> bytes:
    """32 bytes for one purpose: HKDF-Expand (RFC 5869) with the uniform master seed as pseudorandom key."""
    return HKDFExpand(SHA256(), SEED_BYTES, f"MedSecure-U v1 {purpose}".encode()).derive(seed)


def protect_seed(
    seed: bytes, passphrase: str | None, *, parameters: str, key_id: bytes, created: str, log2_n: int
) -> OwnerFile:
    """The file for a new seed."""
    protection: Passphrase | Clear
    about = _about(parameters, key_id.hex(), created)
    if passphrase is None:
        protection = Clear(seed=seed.hex(), check=hmac.digest(seed, about, "sha256").hex())
    else:
        salt, nonce = os.urandom(16), os.urandom(12)
        box = AESGCM(_stretch(passphrase, salt, log2_n)).encrypt(nonce, seed, about)
        protection = Passphrase(log2_n=log2_n, salt=salt.hex(), nonce=nonce.hex(), box=box.hex())
    return OwnerFile(parameters=parameters, key_id=key_id.hex(), created=created, protection=protection)


def open_seed(parsed: OwnerFile, file: Path, passphrase: str | None, least_log2_n: int) -> bytes:
    """The master seed; ``file`` is for the error's sentence."""
    about = _about(parsed.parameters, parsed.key_id, parsed.created)
    protection = parsed.protection
    if isinstance(protection, Clear):
        seed = bytes.fromhex(protection.seed)
        if not hmac.compare_digest(hmac.digest(seed, about, "sha256").hex(), protection.check):
            raise KeyFileError(f"{file} is damaged: restore it from a copy")
        return seed
    if not least_log2_n <= protection.log2_n <= _MOST_SCRYPT_LOG2_N:
        raise KeyFileError(
            f"{file} requires scrypt n = 2^{protection.log2_n}, allowed are 2^{least_log2_n} to "
            f"2^{_MOST_SCRYPT_LOG2_N}: restore it from a copy"
        )
    if passphrase is None:
        raise PassphraseNeededError(
            f"{file} is protected: give its passphrase at the prompt or in a --passphrase-file"
        )
    key = _stretch(passphrase, bytes.fromhex(protection.salt), protection.log2_n)
    try:
        return AESGCM(key).decrypt(bytes.fromhex(protection.nonce), bytes.fromhex(protection.box), about)
    except InvalidTag:
        raise KeyFileError(f"{file} does not open: the passphrase is wrong or the file is damaged") from None


def refuse_short(passphrase: str) -> None:
    """Refuse a new passphrase that is short enough to guess: an attacker with the file has years."""
    characters = len(unicodedata.normalize("NFC", passphrase))
    if characters < LEAST_CHARACTERS:
        raise KeyFileError(
            f"the passphrase has {characters} characters and needs {LEAST_CHARACTERS}: choose a longer one, "
            "such as five words that have nothing to do with each other"
        )


def _about(parameters: str, key_id: str, created: str) -> bytes:
    return f"medsecure-owner-key\n1\n{parameters}\n{key_id}\n{created}\n".encode()


def _stretch(passphrase: str, salt: bytes, log2_n: int) -> bytes:
    normal = unicodedata.normalize("NFC", passphrase).encode()
    return Scrypt(salt, 32, 2**log2_n, _R, _P).derive(normal)
