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
from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from numpy.typing import NDArray

from stages.base import OperatorError
from stages.batches import Sealed
from stages.encrypt.bundle import read_bundle, worker_id
from stages.encrypt.keyfiles import SECRET, read_secret, replace
from stages.encrypt.ownerfile import KeyFileError

WORKER: Final = "worker.key"
_DOMAIN: Final = b"MedSecure-U sealed block v1\x00"
_ID_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_ADVICE: Final = "make one with 'medsecure keys add-worker' on the key folder"


class SignatureRefusedError(OperatorError):
    """A block that no worker of this site is known to have made: it is not appended."""


class Signer:
    """A worker's key at work."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()
        self._id = worker_id(self.public)

    def sign(self, block: Sealed) -> bytes:
        """The id of the worker's key and its signature on the block."""
        return self._id + self._private.sign(message(block))


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
    return _DOMAIN + b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def load_signer(directory: Path) -> Signer:
    """The worker's key of a key folder or, given its ``public`` folder, from beside it."""
    file = directory / WORKER
    if not file.exists() and (directory.resolve().parent / WORKER).exists():
        file = directory.resolve().parent / WORKER
    try:
        private = load_pem_private_key(read_secret(file, _ADVICE), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError) as error:
        if isinstance(error, KeyFileError):
            raise
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileError(f"{file} is no Ed25519 key in PEM: restore it, or {_ADVICE}")
    return Signer(private)


def load_inspector(directory: Path) -> Inspector:
    """The workers that a public bundle names."""
    return Inspector(key.ed25519 for key in read_bundle(directory).verification_keys)


def create_worker(directory: Path) -> bytes:
    """Make ``worker.key`` in a key folder that has none; its public half."""
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    replace(directory / WORKER, pem, SECRET)
    return private.public_key().public_bytes_raw()


def _digest(words: NDArray[Any]) -> bytes:
    return sha256(np.ascontiguousarray(words, words.dtype.newbyteorder("<")).data).digest()
