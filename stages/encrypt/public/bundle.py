"""``bundle.json``: which keys a site's owner vouches for, signed with the owner's Ed25519 and ML-DSA-44 keys.

It names the LWE key (``lwe.pub``) and holds the HPKE key that identity is sealed to, the workers whose
signatures an index takes and took, and the owner's earlier LWE keys, whose records may stand in the same
index. Its number grows with every change, so that an older one is known as such. An id is the SHA-256 of
what a key is for and of the key. What is signed is not the JSON but ``message``: the fields in one order,
each behind its length. docs/queries.md has the format, tests/vectors/bundle.json its known answers.

A bundle by itself proves nothing: ``pin`` says whose signatures are asked for. This module needs no torch.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Annotated, Final, Literal, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

_SUITE: Final = "X25519, HKDF-SHA256, AES-256-GCM"
_DOMAIN: Final = b"MedSecure-U public bundle v3\x00"
_OWNER_ID: Final = b"MedSecure-U owner keys v1\x00"
_HPKE_ID: Final = b"MedSecure-U HPKE key v1\x00"
_WORKER_ID: Final = b"MedSecure-U worker key v1\x00"
_UNSIGNED: Final = (1, 2)  # versions of before, which nobody vouches for


def _from_base64(value: object) -> object:
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


def _to_base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


_BASE64 = (BeforeValidator(_from_base64), PlainSerializer(_to_base64, return_type=str))
Hex32 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Time = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\+00:00$")]
_Key32 = Annotated[bytes, *_BASE64, Field(min_length=32, max_length=32)]  # raw X25519 or Ed25519
_Key44 = Annotated[bytes, *_BASE64, Field(min_length=1312, max_length=1312)]  # FIPS 204, ML-DSA-44
_Signature25519 = Annotated[bytes, *_BASE64, Field(min_length=64, max_length=64)]
_Signature44 = Annotated[bytes, *_BASE64, Field(min_length=2420, max_length=2420)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VerificationKey(_Strict):
    """The public half of a worker's key."""

    id: Hex32
    ed25519: _Key32

    @model_validator(mode="after")
    def _is_its_id(self) -> Self:
        if worker_id(self.ed25519).hex() != self.id:
            raise ValueError("the id does not match the key")
        return self


class RevokedKey(VerificationKey):
    """A worker's key whose blocks an index takes no more; it verifies what was taken before."""

    until: _Time


class EarlierKey(_Strict):
    """The id of an LWE key of before, and when the next one took its place."""

    key_id: Hex32
    until: _Time


class OwnerPublic(_Strict):
    """The keys that the owner's signatures are verified with."""

    ed25519: _Key32
    ml_dsa_44: _Key44

    @property
    def id(self) -> str:
        """What sites and indexes pin: both keys' fingerprint."""
        return sha256(_OWNER_ID + self.ed25519 + self.ml_dsa_44).hexdigest()


class Contents(_Strict):
    """What the owner vouches for."""

    number: Annotated[int, Field(strict=True, ge=1, lt=1 << 63)]
    created: _Time
    site_id: Hex32  # by chance; the owner's other sites have others
    owner: OwnerPublic
    parameters: str
    key_id: Hex32  # SHA-256 of lwe.pub
    hpke_suite: Literal["X25519, HKDF-SHA256, AES-256-GCM"] = _SUITE
    hpke_id: Hex32
    hpke_public: _Key32
    verification_keys: tuple[VerificationKey, ...]
    revoked: tuple[RevokedKey, ...] = ()  # in the order of revocation
    earlier: tuple[EarlierKey, ...] = ()  # newest first

    @model_validator(mode="after")
    def _names_each_key_once(self) -> Self:
        workers = [key.id for key in (*self.verification_keys, *self.revoked)]
        generations = [self.key_id, *(key.key_id for key in self.earlier)]
        if len({*workers, *generations}) != len(workers) + len(generations):
            raise ValueError("a key is named twice")
        if hpke_id(self.hpke_public) != self.hpke_id:
            raise ValueError("the id does not match the HPKE key")
        return self

    @property
    def message(self) -> bytes:
        """What is signed: the domain, then each field behind its length (8 bytes, little-endian)."""
        parts = [
            _count(self.number),
            self.created.encode(),
            bytes.fromhex(self.site_id),
            self.owner.ed25519,
            self.owner.ml_dsa_44,
            self.parameters.encode(),
            bytes.fromhex(self.key_id),
            self.hpke_suite.encode(),
            self.hpke_public,
            _count(len(self.verification_keys)),
            *(key.ed25519 for key in self.verification_keys),
            _count(len(self.revoked)),
        ]
        for worker in self.revoked:
            parts += [worker.ed25519, worker.until.encode()]
        parts.append(_count(len(self.earlier)))
        for key in self.earlier:
            parts += [bytes.fromhex(key.key_id), key.until.encode()]
        return _DOMAIN + framed(parts)

    def followed(self, created: str, **changes: object) -> Contents:
        """What the owner signs next for the same site: these contents with changes, under the next number."""
        return Contents.model_validate(
            {**dict(self), "number": self.number + 1, "created": created, **changes}
        )

    @property
    def digest(self) -> str:
        """Of the message, hex: it distinguishes two bundles of one number."""
        return sha256(self.message).hexdigest()


class Signatures(_Strict):
    """The owner's, over the message."""

    ed25519: _Signature25519
    ml_dsa_44: _Signature44


class Bundle(_Strict):
    """``bundle.json``."""

    format: Literal["medsecure-public-bundle"] = "medsecure-public-bundle"
    version: Literal[3] = 3
    contents: Contents
    signatures: Signatures

    def encode(self) -> bytes:
        """The file's bytes."""
        return self.model_dump_json(indent=2).encode() + b"\n"

    def wrong_signature(self) -> str | None:
        """The algorithm whose signature is not the named owner's; None where both are."""
        owner, message = self.contents.owner, self.contents.message
        name = "Ed25519"
        try:
            Ed25519PublicKey.from_public_bytes(owner.ed25519).verify(self.signatures.ed25519, message)
            name = "ML-DSA-44"
            MLDSA44PublicKey.from_public_bytes(owner.ml_dsa_44).verify(self.signatures.ml_dsa_44, message)
        except (InvalidSignature, ValueError):
            return name
        return None


def parse_bundle(data: bytes) -> Bundle | None:
    """The bundle in these bytes, its signatures unchecked; None where the owner cannot have written them."""
    try:
        bundle = Bundle.model_validate_json(data)
    except ValidationError:
        return None
    return bundle if bundle.encode() == data else None


def is_unsigned(data: bytes) -> bool:
    """Whether these are the bytes of a bundle of a version that nobody signed."""
    try:
        fields = json.loads(data)
        return bool(fields["format"] == "medsecure-public-bundle" and fields["version"] in _UNSIGNED)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def hpke_id(public: bytes) -> str:
    """The id of an HPKE key."""
    return sha256(_HPKE_ID + _SUITE.encode() + b"\x00" + public).hexdigest()


def worker_id(public: bytes) -> bytes:
    """The id of a worker's key."""
    return sha256(_WORKER_ID + public).digest()


def verification_key(public: bytes) -> VerificationKey:
    """A worker's public key, with its id."""
    return VerificationKey(id=worker_id(public).hex(), ed25519=public)


def framed(parts: Iterable[bytes]) -> bytes:
    """Each part behind its length, so that no two sequences of parts are one message."""
    return b"".join(_count(len(part)) + part for part in parts)


def _count(number: int) -> bytes:
    return number.to_bytes(8, "little")
