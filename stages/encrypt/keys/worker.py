"""``worker.key``: what an encrypting worker signs its blocks with (Ed25519, RFC 8032; PKCS #8 in PEM)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from stages.batches import Sealed
from stages.encrypt.keys.secretfiles import read_secret
from stages.encrypt.public.bundle import worker_id
from stages.encrypt.public.keyfiles import KeyFileError
from stages.encrypt.public.layout import WORKER, site_folder
from stages.encrypt.public.signing import message
from stages.files import SECRET, create

_ADVICE: Final = "make one with 'medsecure keys add-worker' on the key folder"


class BlockSigner:
    """A worker's key at work."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()
        self._id = worker_id(self.public)

    def sign(self, block: Sealed) -> bytes:
        """The id of the worker's key and its signature on the block."""
        return self._id + self._private.sign(message(block))


def load_signer(directory: Path) -> BlockSigner:
    """The worker's key of a site's folder, or of the key folder around it."""
    file = site_folder(directory) / WORKER
    try:
        private = load_pem_private_key(read_secret(file, _ADVICE), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError) as error:
        if isinstance(error, KeyFileError):
            raise
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileError(f"{file} is no Ed25519 key in PEM: restore it, or {_ADVICE}")
    return BlockSigner(private)


def create_worker(site: Path) -> bytes:
    """Make ``worker.key`` in a site's folder that has none; its public half."""
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    create(site / WORKER, pem, SECRET)
    return private.public_key().public_bytes_raw()
