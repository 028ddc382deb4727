"""Workers' signatures on the blocks they hand to the index: the public key lets anyone encrypt.

A worker of the site signs each block with its Ed25519 key (RFC 8032, ``worker.key``, PKCS #8 in PEM); the
index appends only what verifies under a key of its bundle. What is signed is this product's domain, then
each field behind its length, so that no two blocks make one message: header, SHA-256 of the head, SHA-256
of the columns (little-endian words), and for each record its key and the SHA-256 of its sealed metadata.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from numpy.typing import NDArray

from stages.batches import Sealed
from stages.encrypt.public.bundle import framed, worker_id
from stages.encrypt.public.pin import read_bundle
from stages.errors import OperatorError

_DOMAIN: Final = b"MedSecure-U sealed block v1\x00"
_ID_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64


class SignatureRefusedError(OperatorError):
    """A block that no worker of this site is known to have made: it is not appended."""


class Inspector:
    """The workers whose blocks an index takes."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._keys = {worker_id(key): Ed25519PublicKey.from_public_bytes(key) for key in keys}

    def check(self, block: Sealed) -> None:
        """Raises SignatureRefusedError unless one of the workers signed this very block."""
        if len(block.signature) != _ID_BYTES + _SIGNATURE_BYTES:
            raise SignatureRefusedError(
                f"a block of {len(block)} records carries no signature of a worker: nothing of it is appended"
            )
        name = block.signature[:_ID_BYTES]
        if name not in self._keys:
            raise SignatureRefusedError(
                f"a block of {len(block)} records is signed by worker key {name.hex()[:16]}, which the "
                "public bundle does not name: give the index the public folder of the keys that encrypt"
            )
        try:
            self._keys[name].verify(block.signature[_ID_BYTES:], message(block))
        except InvalidSignature:
            raise SignatureRefusedError(
                f"a block of {len(block)} records is not what worker key {name.hex()[:16]} signed: "
                "it was changed on its way, so nothing of it is appended"
            ) from None


def message(block: Sealed) -> bytes:
    """What is signed; see above."""
    parts = [
        block.header,
        _digest(block.head_Dn),
        _digest(block.columns_ND),
        len(block).to_bytes(8, "little"),
    ]
    for key, sealed in zip(block.rows.keys, block.rows.sealed, strict=True):
        parts += [key, sha256(sealed).digest()]
    return _DOMAIN + framed(parts)


def load_inspector(directory: Path) -> Inspector:
    """The workers that the bundle of a site's folder names."""
    return Inspector(key.ed25519 for key in read_bundle(directory).contents.verification_keys)


def _digest(words: NDArray[Any]) -> bytes:
    return sha256(np.ascontiguousarray(words, words.dtype.newbyteorder("<")).data).digest()
