from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stages.batches import Rows, Sealed
from stages.encrypt.keys.worker import BlockSigner, load_signer
from stages.encrypt.public import signing
from stages.encrypt.public.bundle import worker_id
from stages.encrypt.public.keyfiles import KeyFileError
from stages.encrypt.public.signing import Inspector, SignatureRefusedError


@pytest.fixture(scope="module")
def private() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture(scope="module", params=[np.uint32, np.uint64])
def block(request: pytest.FixtureRequest, private: Ed25519PrivateKey) -> Sealed:
    """Two records of three features under n = 4, signed."""
    rows = Rows((b"a" * 32, b"b" * 32), (b"", b""), (b"one", b"three"), (b"", b""))
    head_Dn = np.arange(12, dtype=request.param).reshape(3, 4)
    made = Sealed(rows, b"header", head_Dn, np.arange(6, dtype=request.param).reshape(2, 3))
    return replace(made, signature=BlockSigner(private).sign(made))


def inspector(private: Ed25519PrivateKey) -> Inspector:
    return Inspector([private.public_key().public_bytes_raw()])


def test_the_message_is_the_documented_one(block: Sealed) -> None:
    """Domain, then every field behind its length as eight little-endian bytes."""
    fields = [
        b"header",
        sha256(block.head_Dn.astype(block.head_Dn.dtype.newbyteorder("<")).tobytes()).digest(),
        sha256(block.columns_ND.astype(block.columns_ND.dtype.newbyteorder("<")).tobytes()).digest(),
        struct.pack("<Q", 2),
        b"a" * 32,
        sha256(b"one").digest(),
        b"b" * 32,
        sha256(b"three").digest(),
    ]
    expected = b"MedSecure-U sealed block v1\x00" + b"".join(struct.pack("<Q", len(f)) + f for f in fields)
    assert signing.message(block) == expected


def test_a_signed_block_passes_and_says_by_whom(block: Sealed, private: Ed25519PrivateKey) -> None:
    """The signature begins with the id of the worker's key."""
    inspector(private).check(block)
    assert block.signature[:32] == worker_id(private.public_key().public_bytes_raw())


CHANGES: dict[str, Callable[[Sealed], Sealed]] = {
    "header": lambda b: replace(b, header=b"headers"),
    "head": lambda b: replace(b, head_Dn=b.head_Dn + 1),
    "columns": lambda b: replace(b, columns_ND=b.columns_ND[::-1]),
    "keys": lambda b: replace(b, rows=replace(b.rows, keys=b.rows.keys[::-1])),
    "metadata": lambda b: replace(b, rows=replace(b.rows, sealed=(b"one", b"thre"))),
    "a record less": lambda b: replace(b, rows=b.rows.take([0]), columns_ND=b.columns_ND[:1]),
    "signature": lambda b: replace(b, signature=b.signature[:-1] + bytes([b.signature[-1] ^ 1])),
    "half a signature": lambda b: replace(b, signature=b.signature[:-1]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_anything_is_refused(block: Sealed, private: Ed25519PrivateKey, what: str) -> None:
    """Whatever the index would store is covered by the signature."""
    with pytest.raises(SignatureRefusedError):
        inspector(private).check(CHANGES[what](block))


def test_read_only_and_strided_arrays_are_signed_by_value(block: Sealed, private: Ed25519PrivateKey) -> None:
    """The same words sign alike, however they lie in memory."""
    strided = np.asfortranarray(block.head_Dn)
    strided.flags.writeable = False
    inspector(private).check(replace(block, head_Dn=strided))


def test_a_folder_without_a_worker_key_says_how_to_make_one(key_directory: Path, tmp_path: Path) -> None:
    """Key folders of before, damaged and readable keys are one sentence each."""
    with pytest.raises(KeyFileError, match="medsecure keys add-worker"):
        load_signer(tmp_path)
    file = tmp_path / "worker.key"
    file.write_bytes((key_directory / "site" / "worker.key").read_bytes())
    file.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_signer(tmp_path)
    file.chmod(0o600)
    load_signer(tmp_path)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(KeyFileError, match="no Ed25519 key"):
        load_signer(tmp_path)


def test_the_worker_key_is_found_from_either_folder(key_directory: Path) -> None:
    """DIR and DIR/site name the same worker."""
    assert load_signer(key_directory).public == load_signer(key_directory / "site").public
