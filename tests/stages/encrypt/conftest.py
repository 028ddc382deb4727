"""Toy parameters (allowed here only), keys, and deterministic randomness."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch

from stages.encrypt.keys.folder import OwnerKeys, load_owner, new_keys
from stages.encrypt.keys.owner import SecretKey, expand_secret, generate
from stages.encrypt.lwe import parameters
from stages.encrypt.lwe.parameters import LWE32, LWE64, Parameters
from stages.encrypt.lwe.scheme import Encryptor
from stages.encrypt.lwe.wire import LwePublicKey
from stages.encrypt.public.folder import PublicKeys, load_public

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "lwe.json"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Several suites share the machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def toys() -> Iterator[dict[str, Parameters]]:
    """Parameters that protect nothing, one for each word size, in the table while the tests run."""
    small = {
        "toy": Parameters("TOY", 0, 16, 8, q_bits=32, delta_bits=14, noise_bits=4, max_terms=4, estimates=()),
        "toy64": Parameters("TOY64", 99, 16, 8, 64, 36, 16, 1_000_000, estimates=(), exact_scores=True),
    }
    table = parameters.TABLE | {one.number: one for one in small.values()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parameters, "TABLE", MappingProxyType(table))
        yield small


@pytest.fixture(scope="session")
def toy(toys: dict[str, Parameters], request: pytest.FixtureRequest) -> Parameters:
    """The toy of 32-bit words, or the one asked for by name."""
    return toys[getattr(request, "param", "toy")]


@pytest.fixture(scope="session")
def toy_keys(tmp_path_factory: pytest.TempPathFactory, toys: object) -> Path:  # noqa: ARG001 - puts toys in
    """A key folder of toy keys without a passphrase, which no test changes."""
    directory = tmp_path_factory.mktemp("toys") / "keys"
    new_keys(directory, None, "TOY")
    return directory


@pytest.fixture
def keys(toy_keys: Path, tmp_path: Path) -> Path:
    """A copy of them, to be changed."""
    return Path(shutil.copytree(toy_keys, tmp_path / "keys"))


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """The known answers in tests/vectors/lwe.json."""
    document: dict[str, Any] = json.loads(VECTORS.read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="session")
def key_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key directory without a passphrase."""
    directory = tmp_path_factory.mktemp("keys")
    new_keys(directory, None)
    return directory


@pytest.fixture(scope="session")
def public(key_directory: Path) -> PublicKeys:
    """The public bundle."""
    return load_public(key_directory)


@pytest.fixture(scope="session")
def owner(key_directory: Path) -> OwnerKeys:
    """The owner's keys."""
    return load_owner(key_directory, None)


@pytest.fixture(scope="session")
def encryptor(public: PublicKeys) -> Encryptor:
    """LWE32 on the CPU, with randomness from the operating system."""
    return Encryptor(public.lwe)


@pytest.fixture(scope="session")
def fixed_pair() -> tuple[LwePublicKey, SecretKey]:
    """A full-size key pair that is the same in every run, for statistics."""
    public = generate(LWE32, bytes(32), bytes(range(32)))
    return public, expand_secret(LWE32, bytes(32), public.key_id)


@pytest.fixture(scope="session")
def exact_pair() -> tuple[Encryptor, SecretKey]:
    """The same of LWE64, ready to encrypt."""
    public = generate(LWE64, bytes(32), bytes(range(32)))
    keys = (i.to_bytes(32, "big") for i in count())
    return Encryptor(public, randomness=lambda _: next(keys)), expand_secret(LWE64, bytes(32), public.key_id)


@pytest.fixture(scope="session")
def fixed() -> Callable[[int], Callable[[int], bytes]]:
    """Sources of 'randomness' that always answer with one byte."""
    return lambda value: lambda count: bytes([value]) * count
