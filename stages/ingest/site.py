"""Pseudonyms and tickets of one site, all derived from its 32-byte secret.

A key or a series' pseudonym is HMAC-SHA-256 (RFC 2104) of a domain prefix and the identifier: stable,
so that a frame ingested twice has one key, and meaningless without the secret. A ticket is the frame's
``Place`` under AES-256-GCM with a sub-key from HKDF-SHA-256 (RFC 5869), bound to the row's key; it can
be opened on this site only. Nonces are random: one secret serves 2^32 tickets (NIST SP 800-38D, 8.3).
"""

from __future__ import annotations

import hmac
import json
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from stages.places import FileKind, Place

SECRET_BYTES: Final = 32
_NONCE_BYTES: Final = 12
# The fixed-width frame number stands before the identifier, so no two inputs make one message.
_FRAME_BYTES: Final = 8
_UID: Final = b"MedSecure-U key uid v1\x00"
_CONTENT: Final = b"MedSecure-U key content v1\x00"
_PATH: Final = b"MedSecure-U key path v1\x00"
_SERIES: Final = b"MedSecure-U series v2\x00"
_PIXELS: Final = b"MedSecure-U pixels v1\x00"
_GROUP: Final = b"MedSecure-U group v1\x00"
_TICKET: Final = b"MedSecure-U ticket v1"


class TicketError(ValueError):
    """A ticket that does not open: of another site, of another row, or damaged."""


class Site:
    """One site's secret at work."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"a site secret has {SECRET_BYTES} bytes, this one has {len(secret)}")
        self._secret = secret
        self._tickets = AESGCM(HKDF(SHA256(), length=32, salt=None, info=_TICKET).derive(secret))

    def key(self, uid: str, frame: int) -> bytes:
        """The key of a frame of a SOP instance."""
        return self._pseudonym(_UID, frame.to_bytes(_FRAME_BYTES, "big") + uid.encode())

    def content_key(self, digest: bytes, frame: int) -> bytes:
        """The key of a frame of a file without SOP Instance UID, from its SHA-256."""
        return self._pseudonym(_CONTENT, frame.to_bytes(_FRAME_BYTES, "big") + digest)

    def path_key(self, path: str) -> bytes:
        """The key under which a file that cannot be opened is accounted for."""
        return self._pseudonym(_PATH, os.fsencode(path))

    def series(self, *names: str) -> bytes:
        """A series' pseudonym, from all that names it: patient, study and series; or a file's digest."""
        return self._pseudonym(_SERIES, json.dumps(names).encode())

    def pixels(self, digest: bytes) -> bytes:
        """The mark of an image's pixels, from their SHA-256; without the secret nobody can compare images."""
        return self._pseudonym(_PIXELS, digest)

    def group(self, series: bytes, path: str) -> bytes:
        """The mark that the pieces of one cut share; two copies of a series are two cuts."""
        return self._pseudonym(_GROUP, series + os.fsencode(path))

    def seal_ticket(self, place: Place, key: bytes) -> bytes:
        """Where a row came from, readable on this site only and only together with its key."""
        nonce = os.urandom(_NONCE_BYTES)
        plain = json.dumps([place.path, place.frame, place.kind]).encode()
        return nonce + self._tickets.encrypt(nonce, plain, key)

    def open_ticket(self, ticket: bytes, key: bytes) -> Place:
        """The row's place."""
        try:
            plain = self._tickets.decrypt(ticket[:_NONCE_BYTES], ticket[_NONCE_BYTES:], key)
        except (InvalidTag, ValueError):
            raise TicketError("the ticket does not open: of another site or row, or damaged") from None
        path, frame, kind = json.loads(plain)
        return Place(path, frame, FileKind(kind))

    def _pseudonym(self, domain: bytes, identifier: bytes) -> bytes:
        return hmac.digest(self._secret, domain + identifier, "sha256")
