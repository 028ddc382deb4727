"""Sealing to the index's owner: HPKE (RFC 9180), base mode, single shot.

Suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. A sealed blob is one version byte, the
encapsulated key (32 bytes) and the AEAD ciphertext. What the blob is bound to travels in HPKE's
``info``, behind this product's domain string: a fresh context per message makes that equal to
associated data (RFC 9180, section 8.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from stages.base import OperatorError

if TYPE_CHECKING:
    from stages.encrypt.keys import OwnerKeys

SEAL_OVERHEAD: Final = 1 + 32 + 16  # version, encapsulated key, tag
_VERSION: Final = b"\x01"
_DOMAIN: Final = b"MedSecure-U sealed v1\x00"
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class SealError(OperatorError):
    """A sealed blob that cannot be opened: damaged, of another owner, or bound to something else."""


class Sealer:
    """Seals to one HPKE public key (32 bytes, raw X25519); holds nothing secret."""

    def __init__(self, hpke_public: bytes) -> None:
        self._public = X25519PublicKey.from_public_bytes(hpke_public)

    def seal(self, plaintext: bytes, aad: bytes) -> bytes:
        """Readable by the owner only, and only together with the same ``aad``."""
        return _VERSION + _SUITE.encrypt(plaintext, self._public, info=_DOMAIN + aad)


def open_sealed(owner: OwnerKeys, sealed: bytes, aad: bytes) -> bytes:
    """What was sealed to this owner with this ``aad``."""
    if len(sealed) < SEAL_OVERHEAD:
        raise SealError(f"sealed data is truncated: {len(sealed)} bytes, at least {SEAL_OVERHEAD} are needed")
    if sealed[:1] != _VERSION:
        raise SealError(f"sealed data has version {sealed[0]}, this program reads version {_VERSION[0]}")
    try:
        return _SUITE.decrypt(sealed[1:], owner.hpke, info=_DOMAIN + aad)
    except InvalidTag:
        raise SealError("sealed data does not open: it is damaged, for another owner, or misplaced") from None
