from __future__ import annotations

import base64
import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from stages.encrypt.public.bundle import (
    Bundle,
    hpke_id,
    is_first_version,
    make_bundle,
    read_bundle,
    upgrade,
    verification_key,
    worker_id,
)
from stages.encrypt.public.folder import load_public
from stages.encrypt.public.keyfiles import KeyFileError

HPKE = bytes(range(32))
WORKER = bytes(range(32, 64))
FIRST = {
    "format": "medsecure-public-bundle",
    "version": 1,
    "parameters": "LWE32",
    "key_id": "ab" * 32,
    "hpke_suite": "X25519, HKDF-SHA256, AES-256-GCM",
    "hpke_public": base64.b64encode(HPKE).decode(),
    "created": "2026-01-02",
}


@pytest.fixture
def bundle() -> Bundle:
    return make_bundle("LWE32", b"\xab" * 32, HPKE, (verification_key(WORKER),), "2026-01-02", ("cd" * 32,))


def written(folder: Path, data: bytes) -> Path:
    (folder / "public").mkdir(exist_ok=True)
    (folder / "public" / "bundle.json").write_bytes(data)
    return folder


def test_a_bundle_is_read_as_it_was_written(bundle: Bundle, tmp_path: Path) -> None:
    """With the id of each key, which nobody can choose."""
    assert read_bundle(written(tmp_path, bundle.encode())) == bundle
    assert (bundle.hpke_public, bundle.hpke_id) == (HPKE, hpke_id(HPKE))
    assert (bundle.key_id, bundle.earlier, bundle.created) == ("ab" * 32, ("cd" * 32,), "2026-01-02")
    (worker,) = bundle.verification_keys
    assert (worker.ed25519, worker.id) == (WORKER, worker_id(WORKER).hex())
    assert bundle.encode().endswith(b"}\n")


def test_ids_tell_kinds_of_keys_apart() -> None:
    """The id is the SHA-256 of what the key is for and of the key; anyone may compute it again."""
    suite = b"MedSecure-U HPKE key v1\0X25519, HKDF-SHA256, AES-256-GCM\0"
    assert hpke_id(HPKE) == sha256(suite + HPKE).hexdigest()
    assert worker_id(HPKE) == sha256(b"MedSecure-U worker key v1\0" + HPKE).digest()


@pytest.mark.parametrize("data", [b"", b"no JSON", b"[]", b'{"format": "medsecure-public-bundle"}'])
def test_what_is_no_bundle_is_refused(data: bytes, tmp_path: Path) -> None:
    """With what to do, and without a word of version 1."""
    with pytest.raises(KeyFileError, match=r"is not a public bundle of this version: copy it again"):
        read_bundle(written(tmp_path, data))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_sealing_key_of_another_length_is_refused(size: int, tmp_path: Path) -> None:
    """Although its id is right."""
    data = make_bundle("LWE32", bytes(32), bytes(size), (), "").encode()
    with pytest.raises(KeyFileError, match="no X25519 public key"):
        read_bundle(written(tmp_path, data))


@pytest.mark.parametrize("size", [31, 33])
def test_a_workers_key_of_another_length_is_refused(size: int, tmp_path: Path) -> None:
    """Although its id is right."""
    data = make_bundle("LWE32", bytes(32), HPKE, (verification_key(bytes(size)),), "").encode()
    with pytest.raises(KeyFileError, match="a worker's key that is not"):
        read_bundle(written(tmp_path, data))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"hpke_id": "00" * 32}, "no X25519"), ({"verification_keys": [{"id": "00" * 32}]}, "that is not 0000")],
)
def test_a_key_under_another_id_is_refused(
    change: dict[str, Any], sentence: str, bundle: Bundle, tmp_path: Path
) -> None:
    """The id is what people compare."""
    document = json.loads(bundle.encode())
    if workers := change.get("verification_keys"):
        workers[0] = document["verification_keys"][0] | workers[0]
    with pytest.raises(KeyFileError, match=sentence):
        read_bundle(written(tmp_path, json.dumps(document | change).encode()))


def test_version_1_is_refused_with_the_command_that_helps(tmp_path: Path) -> None:
    """And brought to version 2 with the same keys, without a worker."""
    data = json.dumps(FIRST).encode()
    with pytest.raises(KeyFileError, match=r"is of version 1.*add-worker"):
        read_bundle(written(tmp_path, data))
    assert upgrade(data) == make_bundle("LWE32", b"\xab" * 32, HPKE, (), "2026-01-02")


def test_only_version_1_of_this_format_is_the_first_version() -> None:
    """Another file, and one of the version of today, are something else."""
    assert is_first_version(json.dumps(FIRST).encode())
    for change in ({"version": 2}, {"format": "other"}):
        assert not is_first_version(json.dumps(FIRST | change).encode())
    for data in (b"{}", b"[1]", b"no JSON"):
        assert not is_first_version(data)


@pytest.mark.parametrize("change", [{"hpke_public": "!"}, {"key_id": "xy"}, {"hpke_public": None}])
def test_a_damaged_bundle_of_version_1_is_not_brought_on(change: dict[str, Any]) -> None:
    """A folder that lost bytes is restored from a copy."""
    with pytest.raises(KeyFileError, match=r"bundle\.json is damaged"):
        upgrade(json.dumps(FIRST | change).encode())


def test_a_damaged_key_beside_a_good_bundle_is_named(bundle: Bundle, tmp_path: Path) -> None:
    """The file is lwe.pub, and what is wrong with it is said."""
    written(tmp_path, bundle.encode())
    (tmp_path / "public" / "lwe.pub").write_bytes(os.urandom(99))
    with pytest.raises(KeyFileError, match=r"lwe\.pub: "):
        load_public(tmp_path)
