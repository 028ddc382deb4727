"""Sealing to the index's owner: HPKE (RFC 9180), base mode, single shot.

Suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. A sealed blob is one version byte, the
encapsulated key (32 bytes) and the AEAD ciphertext. What the blob is bound to travels in HPKE's
``info``, behind this product's domain string: a fresh context per message makes that equal to
associated data (RFC 9180, section 8.1).
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from stages.errors import OperatorError

SEAL_OVERHEAD: Final = 1 + 32 + 16  # version, encapsulated key, tag
VERSION: Final = b"\x01"
DOMAIN: Final = b"MedSecure-U sealed v1\x00"
SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class SealError(OperatorError):
    """A sealed blob that cannot be opened: damaged, of another owner, or bound to something else."""


class Sealer:
    """Seals to one HPKE public key (32 bytes, raw X25519); holds nothing secret."""

    def __init__(self, hpke_public: bytes) -> None:
        self._public = X25519PublicKey.from_public_bytes(hpke_public)

    def seal(self, plaintext: bytes, aad: bytes) -> bytes:
        """Readable by the owner only, and only together with the same ``aad``."""
        return VERSION + SUITE.encrypt(plaintext, self._public, info=DOMAIN + aad)
