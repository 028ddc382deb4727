"""What the verifier reads, notes and proof files: the reference implementation's example, and fuzzing."""

from __future__ import annotations

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from stages.index.log.note import NoteSigner, public_key, sign
from stages.index.verifier import (
    ED25519,
    Checkpoint,
    KeyRoot,
    NoteError,
    decode_base64,
    open_checkpoint,
    open_note,
    parse_decimal,
    parse_keys,
)

# The example in the documentation of golang.org/x/mod/sumdb/note, which publishes its keys.
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.
"""
SIGNATURE = (
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfq"
    "dngotpRZb6KE6RyyBwJnAM=\n"
)
NOTE = (TEXT + "\n" + SIGNATURE).encode()
OTHER = "\u2014 example.com/witness " + b64encode(b"\1\2\3\4" + bytes(72)).decode() + "\n"

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LATTICE = MLDSA44PrivateKey.from_seed_bytes(bytes(range(32)))
NAME = "example.com/log"
LOG = (public_key(NAME, KEY),)
BOTH = (*LOG, public_key(NAME, LATTICE))
CHECKPOINT = Checkpoint(NAME, 20852163, bytes(range(32)))
SIGNED = sign(CHECKPOINT.text, NAME, [KEY])
HASH = b64encode(bytes(range(32))).decode()
HEAD = f"{NAME}\n1\n{HASH}"
TWICE = NoteSigner(NAME, (KEY, LATTICE), KeyRoot(7, bytes(range(32)))).checkpoint(9, bytes(range(32)))


def test_the_reference_example_opens() -> None:
    """The published note opens under its published key."""
    (key,) = parse_keys(VKEY)
    assert (key.name, key.key_id.hex(), key.vkey, key.kind) == ("PeterNeumann", "c74f20a3", VKEY, ED25519)
    assert open_note(NOTE, (key,)) == TEXT


def test_a_note_has_at_most_128_kib() -> None:
    """One byte more is refused before anything of it is read."""
    whole = 1 << 17
    text = "x" * (whole - len(sign("\n", NAME, [KEY]))) + "\n"
    longest = sign(text, NAME, [KEY])
    assert (len(longest), open_note(longest, LOG)) == (whole, text)
    with pytest.raises(NoteError, match="the note is too long"):
        open_note(sign("x" + text, NAME, [KEY]), LOG)


def test_signatures_by_others_are_ignored() -> None:
    """A cosigned note opens; one that only others have signed does not."""
    keys = parse_keys(VKEY)
    assert open_note(NOTE + OTHER.encode(), keys) == TEXT
    assert open_note((TEXT + "\n" + OTHER + SIGNATURE).encode(), keys) == TEXT
    with pytest.raises(NoteError, match="not signed by PeterNeumann"):
        open_note((TEXT + "\n" + OTHER).encode(), keys)


def test_a_checkpoint_has_three_lines() -> None:
    """Origin, size and root, as tlog-checkpoint has them."""
    assert CHECKPOINT.text == "example.com/log\n20852163\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    assert open_checkpoint(SIGNED, LOG) == CHECKPOINT


def test_a_checkpoint_may_name_the_root_of_its_keys() -> None:
    """One line after the root."""
    read = open_checkpoint(TWICE, BOTH)
    assert read == Checkpoint(NAME, 9, bytes(range(32)), KeyRoot(7, bytes(range(32))))
    assert read.text.splitlines()[3] == f"medsecure-u/keys 7 {HASH}"
    assert TWICE.startswith(read.text.encode() + b"\n")


@pytest.mark.parametrize("keys", [None, KeyRoot(7, bytes(range(32)))])
def test_a_checkpoint_may_name_the_model_of_its_features(keys: KeyRoot | None) -> None:
    """The last line, with or without that of the keys before it."""
    model = bytes(range(1, 33))
    read = open_checkpoint(
        NoteSigner(NAME, (KEY, LATTICE), keys, model).checkpoint(9, bytes(range(32))), BOTH
    )
    assert read == Checkpoint(NAME, 9, bytes(range(32)), keys, model)
    assert read.text.splitlines()[-1] == f"medsecure-u/model {b64encode(model).decode()}"


@pytest.mark.parametrize(
    "text",
    [
        "example.com/log\n1\n",
        "example.com/log\n1\nAAAA\n",
        "example.com/log\n01\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "example.com/log\n-1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "example.com/log\n9223372036854775808\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "example.com/log\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=\n",
        "example.com/log\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\nextension\n",
        f"{HEAD}\nmedsecure-u/keys 1\n",
        f"{HEAD}\nmedsecure-u/keys 1 {HASH} \n",
        f"{HEAD}\nmedsecure-u/keys 01 {HASH}\n",
        f"{HEAD}\nmedsecure-u/keys 2 {HASH}\n",
        f"{HEAD}\nmedsecure-u/keys 1 {HASH[:-4]}\n",
        f"{HEAD}\nmedsecure-u/keys 1 {HASH}\nmedsecure-u/keys 1 {HASH}\n",
        f"{HEAD}\nmedsecure-u/model\n",
        f"{HEAD}\nmedsecure-u/model {HASH[:-4]}\n",
        f"{HEAD}\nmedsecure-u/model {HASH} {HASH}\n",
        f"{HEAD}\nmedsecure-u/model {HASH}\nmedsecure-u/model {HASH}\n",
        f"{HEAD}\nmedsecure-u/model {HASH}\nmedsecure-u/keys 1 {HASH}\n",
        "example.com/other\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
    ],
)
def test_a_signed_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    """A good signature does not make up for a bad format or a foreign origin."""
    with pytest.raises(NoteError):
        open_checkpoint(sign(text, NAME, [KEY]), LOG)


@given(st.integers(0, len(TWICE) - 1), st.integers(1, 255))
def test_a_note_with_any_byte_changed_is_refused(place: int, change: int) -> None:
    """No byte of either signature is free, base64's unused bits included."""
    damaged = bytearray(TWICE)
    damaged[place] ^= change
    with pytest.raises(NoteError):
        open_checkpoint(bytes(damaged), BOTH)


@given(st.binary() | st.text().map(lambda text: text.encode(errors="replace")))
@example(b"")
@example(b"\n\n")
@example(SIGNED[:-1])
@example(SIGNED + b"\n")
@example(SIGNED.replace(b"20852163", b"\xd9\xa1"))
def test_other_bytes_are_no_note(data: bytes) -> None:
    """Malformed notes are refused with the one exception that says so."""
    with pytest.raises(NoteError):
        open_checkpoint(data, LOG)


@given(st.text())
@example("a+00000000+AAAA")
@example("a b" + VKEY.removeprefix("PeterNeumann"))
@example("\ud800" + VKEY.removeprefix("PeterNeumann"))
@example(VKEY + "\n\n")
@example(VKEY.replace("c74f20a3", "C74F20A3"))
@example(VKEY.replace("c74f20a3", "c74f20a4"))
def test_other_texts_are_no_verifier_key(text: str) -> None:
    """Malformed keys are refused with the one exception that says so."""
    with pytest.raises(NoteError):
        parse_keys(text)


@given(st.binary())
def test_base64_has_one_spelling(data: bytes) -> None:
    """What is encoded decodes; a spelling without padding does not."""
    text = b64encode(data).decode()
    assert decode_base64(text) == data
    if text.endswith("="):
        with pytest.raises(NoteError):
            decode_base64(text.rstrip("="))


@given(st.integers(0, 2**63 - 1))
def test_decimals_have_one_spelling(number: int) -> None:
    """A number is read back; with a zero before it, it is refused."""
    assert parse_decimal(str(number)) == number
    with pytest.raises(NoteError):
        parse_decimal(f"0{number}")
