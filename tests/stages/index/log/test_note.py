"""Signing notes: as the reference implementation does, with two algorithms, and as a witness."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from stages.index.log.note import NoteSigner, cosign, public_key, sign, witness_key
from stages.index.verifier import (
    Checkpoint,
    KeyRoot,
    NoteError,
    cosigned_text,
    decode_base64,
    open_checkpoint,
    open_note,
    parse_keys,
)

# The example in the documentation of golang.org/x/mod/sumdb/note, its published signing key included.
SEED = b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
TEXT = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.
"""
SIGNATURE = (
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfq"
    "dngotpRZb6KE6RyyBwJnAM=\n"
)

# The examples in c2sp.org/tlog-cosignature.
BODY = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
COSIGNED = "cosignature/v1\ntime 1679315147\n" + BODY
COSIGNATURE = (
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="
)

NAME = "example.com/log"
CLASSIC = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LATTICE = MLDSA44PrivateKey.from_seed_bytes(bytes(range(32)))
LOG = (public_key(NAME, CLASSIC), public_key(NAME, LATTICE))
CHECKPOINT = Checkpoint(NAME, 20852163, bytes(range(32)), KeyRoot(20000000, bytes(range(1, 33))))
NOTE = NoteSigner(NAME, (CLASSIC, LATTICE), CHECKPOINT.keys).checkpoint(CHECKPOINT.size, CHECKPOINT.root)


def test_the_reference_example_is_signed_alike() -> None:
    """Ed25519 is deterministic: the same key makes the same note."""
    note = sign(TEXT, "PeterNeumann", [Ed25519PrivateKey.from_private_bytes(SEED)])
    assert note == (TEXT + "\n" + SIGNATURE).encode()


def test_a_checkpoint_carries_both_signatures() -> None:
    """One line each, on the same text; it opens under both keys, and under either."""
    assert len(NOTE.decode().split("\n\n")[1].splitlines()) == 2
    for keys in (LOG, LOG[:1], LOG[1:]):
        assert open_checkpoint(NOTE, keys) == CHECKPOINT


@pytest.mark.parametrize("missing", [0, 1])
def test_who_knows_both_keys_demands_both_signatures(missing: int) -> None:
    """Breaking one algorithm is not enough to forge a checkpoint."""
    text, signatures = NOTE.decode().split("\n\n")
    kept = signatures.splitlines()[1 - missing]
    with pytest.raises(NoteError, match=f"not signed by {NAME} with key {LOG[missing].key_id.hex()}"):
        open_checkpoint(f"{text}\n\n{kept}\n".encode(), LOG)


def test_the_public_key_file_is_read_back() -> None:
    """Type, name and key of either algorithm."""
    assert parse_keys("".join(f"{key.vkey}\n" for key in LOG)) == LOG


def test_a_cosignature_is_on_what_the_specification_says() -> None:
    """The specification's message for its text and time; its line holds a key id, that time, and 64 bytes."""
    assert cosigned_text(BODY.encode(), 1679315147) == COSIGNED.encode()
    line = decode_base64(COSIGNATURE)
    assert (len(line), int.from_bytes(line[4:12], "big")) == (4 + 8 + 64, 1679315147)


def test_a_cosigned_note_opens_for_those_who_trust_the_witness_too() -> None:
    """The witness's line does not disturb others; its time cannot be changed."""
    key = witness_key("example.com/witness", CLASSIC)
    cosigned = cosign(NOTE, key.name, CLASSIC, 1679315147)
    assert cosigned.startswith(NOTE)
    for keys in (LOG, (*LOG, key)):
        assert open_checkpoint(cosigned, keys) == CHECKPOINT
    assert parse_keys(key.vkey) == (key,)
    with pytest.raises(NoteError, match=r"not signed by example\.com/witness"):
        open_checkpoint(NOTE, (*LOG, key))
    line = cosigned.removeprefix(NOTE).decode().split(" ")
    signature = bytearray(b64decode(line[2]))
    signature[11] ^= 1
    forged = NOTE + f"{line[0]} {line[1]} {b64encode(signature).decode()}\n".encode()
    with pytest.raises(NoteError, match=r"signature of example\.com/witness is wrong"):
        open_note(forged, (key,))


def test_a_witness_alone_does_not_make_a_checkpoint() -> None:
    """It vouches for what a log has signed, not for the log."""
    key = witness_key("example.com/witness", CLASSIC)
    cosigned = cosign(NOTE, key.name, CLASSIC, 1679315147)
    with pytest.raises(NoteError, match="not all keys are"):
        open_checkpoint(cosigned, (key,))


def test_the_same_key_cosigning_is_another_key() -> None:
    """A log's own signature does not pass for a cosignature of its key, nor the other way round."""
    key = witness_key(NAME, CLASSIC)
    assert key.key_id != LOG[0].key_id
    with pytest.raises(NoteError, match="is not signed"):
        open_note(NOTE, (key,))
