from __future__ import annotations

import base64
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.encrypt.keys.signer import OwnerSigner
from stages.encrypt.public.bundle import (
    Bundle,
    hpke_id,
    is_unsigned,
    parse_bundle,
    worker_id,
)

VECTOR = Path(__file__).resolve().parents[3] / "vectors" / "bundle.json"
KEY = bytes(range(32))


@pytest.fixture(scope="module")
def vector() -> dict[str, Any]:
    """A bundle made by other code, with the seed of its owner."""
    document: dict[str, Any] = json.loads(VECTOR.read_text())
    return document


@pytest.fixture(scope="module")
def bundle(vector: dict[str, Any]) -> Bundle:
    parsed = parse_bundle(written(vector["bundle"]))
    assert parsed
    return parsed


def written(document: object) -> bytes:
    return json.dumps(document, indent=2).encode() + b"\n"


def test_a_bundle_of_other_code_is_read_and_believed(bundle: Bundle, vector: dict[str, Any]) -> None:
    """The bytes, the message, the owner id and both signatures are those that the documents describe."""
    assert bundle.encode() == written(vector["bundle"])
    assert bundle.contents.message.hex() == vector["message"]
    assert bundle.contents.digest == sha256(bytes.fromhex(vector["message"])).hexdigest()
    assert bundle.contents.owner.id == vector["owner_id"]
    assert bundle.wrong_signature() is None


def test_the_owners_keys_never_change(bundle: Bundle, vector: dict[str, Any]) -> None:
    """A seed of today signs for the same owner id tomorrow; Ed25519 gives the same bytes."""
    signer = OwnerSigner(bytes.fromhex(vector["seed"]))
    assert signer.public == bundle.contents.owner
    again = signer.sign(bundle.contents)
    assert again.signatures.ed25519 == bundle.signatures.ed25519
    assert again.wrong_signature() is None


def test_ids_tell_kinds_of_keys_apart() -> None:
    """The id is the SHA-256 of what the key is for and of the key; anyone may compute it again."""
    suite = b"MedSecure-U HPKE key v1\0X25519, HKDF-SHA256, AES-256-GCM\0"
    assert hpke_id(KEY) == sha256(suite + KEY).hexdigest()
    assert worker_id(KEY) == sha256(b"MedSecure-U worker key v1\0" + KEY).digest()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a number as text": lambda c: c.update(number="3"),
    "number 0": lambda c: c.update(number=0),
    "a number of 64 bits": lambda c: c.update(number=1 << 63),
    "a time of another zone": lambda c: c.update(created="2026-11-28T10:02:00+01:00"),
    "no site": lambda c: c.pop("site_id"),
    "an upper-case id": lambda c: c.update(site_id="AB" * 32),
    "an unknown field": lambda c: c.update(valid=True),
    "another suite": lambda c: c.update(hpke_suite="none"),
    "a short sealing key": lambda c: c.update(hpke_public=text(KEY[:-1])),
    "a sealing key of another id": lambda c: c.update(hpke_public=text(KEY)),
    "a long worker's key": lambda c: c["verification_keys"][0].update(ed25519=text(KEY + b"\0")),
    "a worker's key of another id": lambda c: c["verification_keys"][0].update(ed25519=text(KEY)),
    "a worker that is revoked, too": lambda c: c["verification_keys"].append(
        {name: c["revoked"][0][name] for name in ("id", "ed25519")}
    ),
    "a worker twice": lambda c: c["verification_keys"].append(c["verification_keys"][0]),
    "a current key that is an earlier one": lambda c: c["earlier"][0].update(key_id=c["key_id"]),
    "an earlier key without its time": lambda c: c["earlier"][0].pop("until"),
    "a short key of the owner": lambda c: c["owner"].update(ml_dsa_44=text(bytes(1311))),
    "base64 with a line's end": lambda c: c.update(hpke_public=c["hpke_public"] + "\n"),
    "base64 for the web": lambda c: c["owner"].update(ed25519="_" * 43 + "="),
}


@pytest.mark.parametrize("what", CHANGES)
def test_contents_that_no_owner_writes_are_no_bundle(what: str, vector: dict[str, Any]) -> None:
    """Unknown fields, other types, lengths and ids: refused before a signature is looked at."""
    document = json.loads(json.dumps(vector["bundle"]))
    CHANGES[what](document["contents"])
    assert parse_bundle(written(document)) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"\n",
        lambda data: data.replace(b"  ", b" "),
        lambda data: json.dumps(json.loads(data), indent=2, sort_keys=True).encode() + b"\n",
        lambda data: data.replace(b'"version": 3,', b'"version": 3,\n  "version": 3,'),
        lambda data: data.replace(b'"version": 3', b'"version": 2'),
        lambda data: b"[" * len(data),
        lambda data: b"\xff" + data,
        lambda data: data[:0],
    ],
)
def test_only_one_sequence_of_bytes_is_a_bundle(
    change: Callable[[bytes], bytes], vector: dict[str, Any]
) -> None:
    """Whatever means the same and is written otherwise is refused as well."""
    assert parse_bundle(change(written(vector["bundle"]))) is None


@pytest.mark.parametrize("name", ["ed25519", "ml_dsa_44"])
def test_one_flipped_bit_of_either_signature_is_seen(name: str, bundle: Bundle) -> None:
    """And the algorithm is named."""
    signature = bytearray(getattr(bundle.signatures, name))
    signature[7] ^= 1
    changed = bundle.signatures.model_copy(update={name: bytes(signature)})
    named = {"ed25519": "Ed25519", "ml_dsa_44": "ML-DSA-44"}[name]
    assert bundle.model_copy(update={"signatures": changed}).wrong_signature() == named


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_byte_of_the_file_can_be_changed(data: st.DataObject, vector: dict[str, Any]) -> None:
    """Wherever it stands: what is still a bundle is not signed by the owner it names."""
    whole = bytearray(written(vector["bundle"]))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    changed = parse_bundle(bytes(whole))
    assert changed is None or changed.wrong_signature()


def test_every_field_is_signed(bundle: Bundle) -> None:
    """No field, and no order of a list, can be changed without both signatures."""
    contents = bundle.contents
    (worker,), (revoked,), (earlier,) = contents.verification_keys, contents.revoked, contents.earlier
    changes: list[dict[str, object]] = [
        {"number": 4},
        {"created": revoked.until},
        {"site_id": "00" * 32},
        {"parameters": "LWE64"},
        {"key_id": "00" * 32},
        {"hpke_public": KEY},
        {"verification_keys": ()},
        {"verification_keys": (worker, worker)},
        {"revoked": ()},
        {"revoked": (revoked.model_copy(update={"until": earlier.until}),)},
        {"earlier": ()},
        {"earlier": (earlier.model_copy(update={"until": revoked.until}),)},
        {"verification_keys": (), "revoked": (revoked, revoked)},
    ]
    messages = {contents.model_copy(update=change).message for change in changes}
    assert len(messages | {contents.message}) == len(changes) + 1


def test_only_what_was_once_written_unsigned_is_called_so(vector: dict[str, Any]) -> None:
    """Another file, and one of the version of today, are something else."""
    for version in (1, 2):
        assert is_unsigned(json.dumps({"format": "medsecure-public-bundle", "version": version}).encode())
    assert not is_unsigned(written(vector["bundle"]))
    for data in (b"{}", b"[1]", b"no JSON", b'{"format": "other", "version": 1}', b"[" * 100_000):
        assert not is_unsigned(data)
