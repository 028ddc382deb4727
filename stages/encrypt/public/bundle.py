"""``public/``: all that an encrypting worker or an index server may have, each key with its id.

``lwe.pub`` holds the LWE public key, ``bundle.json`` names it and holds the rest: the HPKE key that
identity is sealed to, the keys that workers' signatures are verified with, and the ids of the owner's
earlier LWE keys, whose records may stand in the same index. An id is the SHA-256 of what the key is for
and of the key. This module needs no torch: the index server verifies with it.
"""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, ValidationError

from stages.encrypt.public.keyfiles import KeyFileError, read
from stages.encrypt.public.layout import BUNDLE, PUBLIC_FOLDER, site_folder

_SUITE: Final = "X25519, HKDF-SHA256, AES-256-GCM"
_KEY_BYTES: Final = 32  # raw X25519 and Ed25519
_HPKE_ID: Final = b"MedSecure-U HPKE key v1\x00"
_WORKER_ID: Final = b"MedSecure-U worker key v1\x00"

_Hex32 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class VerificationKey(BaseModel):
    """The public half of a worker's key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: _Hex32
    ed25519: Base64Bytes


class Bundle(BaseModel):
    """``bundle.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["medsecure-public-bundle"] = "medsecure-public-bundle"
    version: Literal[2] = 2
    parameters: str
    key_id: _Hex32  # SHA-256 of lwe.pub
    hpke_suite: Literal["X25519, HKDF-SHA256, AES-256-GCM"] = _SUITE
    hpke_id: _Hex32
    hpke_public: Base64Bytes
    verification_keys: tuple[VerificationKey, ...]
    earlier: tuple[_Hex32, ...] = ()  # ids of the owner's earlier LWE keys, newest first
    created: str

    def encode(self) -> bytes:
        """The file's bytes."""
        return self.model_dump_json(indent=2).encode() + b"\n"


def make_bundle(
    parameters: str,
    key_id: bytes,
    hpke: bytes,
    workers: tuple[VerificationKey, ...],
    created: str,
    earlier: tuple[str, ...] = (),
) -> Bundle:
    """The bundle of these keys."""
    return Bundle(
        parameters=parameters,
        key_id=key_id.hex(),
        hpke_id=hpke_id(hpke),
        hpke_public=base64.b64encode(hpke),
        verification_keys=workers,
        earlier=earlier,
        created=created,
    )


def hpke_id(public: bytes) -> str:
    """The id of an HPKE key."""
    return sha256(_HPKE_ID + _SUITE.encode() + b"\x00" + public).hexdigest()


def worker_id(public: bytes) -> bytes:
    """The id of a worker's key."""
    return sha256(_WORKER_ID + public).digest()


def verification_key(public: bytes) -> VerificationKey:
    """A worker's public key, with its id."""
    return VerificationKey(id=worker_id(public).hex(), ed25519=base64.b64encode(public))


def read_bundle(directory: Path) -> Bundle:
    """The bundle of a site's folder, or of the key folder around it."""
    file = site_folder(directory) / PUBLIC_FOLDER / BUNDLE
    data = read(file, "make keys with 'medsecure keys new'")
    try:
        bundle = Bundle.model_validate_json(data)
    except ValidationError:
        if is_first_version(data):
            raise KeyFileError(
                f"{file} is of version 1, which has no keys to verify workers with: run 'medsecure keys "
                "add-worker' on the key folder, then give out its public folder again"
            ) from None
        raise KeyFileError(f"{file} is not a public bundle of this version: copy it again") from None
    if len(bundle.hpke_public) != _KEY_BYTES or hpke_id(bundle.hpke_public) != bundle.hpke_id:
        raise KeyFileError(f"{file} holds no X25519 public key: copy the public folder again")
    for key in bundle.verification_keys:
        if len(key.ed25519) != _KEY_BYTES or worker_id(key.ed25519).hex() != key.id:
            raise KeyFileError(
                f"{file} holds a worker's key that is not {key.id[:16]}: copy the public folder again"
            )
    return bundle


def is_first_version(data: bytes) -> bool:
    """Whether these are the bytes of a bundle as version 0.1 of this product wrote it."""
    try:
        fields = json.loads(data)
        return bool(fields["format"] == "medsecure-public-bundle" and fields["version"] == 1)
    except (ValueError, KeyError, TypeError):
        return False


def upgrade(data: bytes) -> Bundle:
    """The bundle of version 2 with the keys of one of version 1, which has no worker. Raises KeyFileError."""
    try:
        fields = json.loads(data)
        hpke = base64.b64decode(fields["hpke_public"], validate=True)
        return make_bundle(fields["parameters"], bytes.fromhex(fields["key_id"]), hpke, (), fields["created"])
    except (ValueError, KeyError, TypeError) as error:
        raise KeyFileError(f"{BUNDLE} is damaged: restore the public folder from a copy") from error
