from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stages.encrypt.keys.ownerfile import (
    OwnerFile,
    Passphrase,
    PassphraseNeededError,
    open_seed,
    protect_seed,
)
from stages.encrypt.public.keyfiles import KeyFileError

SEED = bytes(range(32))
FILE = Path("owner.key")


def protected(log2_n: int = 10) -> tuple[Passphrase, OwnerFile]:
    made = protect_seed(
        SEED, "Pr\u00fcfung 7", parameters="LWE32", key_id=b"\xab" * 32, created="2026", log2_n=10
    )
    assert isinstance(made.protection, Passphrase)
    protection = made.protection.model_copy(update={"log2_n": log2_n})
    return protection, made.model_copy(update={"protection": protection})


def test_other_software_opens_a_protected_seed_from_what_is_published() -> None:
    """Anyone can, by scrypt with r = 8, p = 1 and AES-256-GCM: a file of today opens for ever."""
    protection, _ = protected()
    normal = unicodedata.normalize("NFC", "Pr\u00fcfung 7").encode()
    key = hashlib.scrypt(normal, salt=bytes.fromhex(protection.salt), n=2**10, r=8, p=1, dklen=32)
    about = f"medsecure-owner-key\n1\nLWE32\n{'ab' * 32}\n2026\n".encode()
    opened = AESGCM(key).decrypt(bytes.fromhex(protection.nonce), bytes.fromhex(protection.box), about)
    assert opened == SEED
    assert (len(protection.salt), len(protection.nonce)) == (2 * 16, 2 * 12)


@pytest.mark.parametrize("log2_n", [9, 21])
def test_work_outside_the_bounds_is_refused_before_it_is_done(log2_n: int) -> None:
    """Less is guessed too soon, more exhausts memory."""
    _, parsed = protected(log2_n)
    with pytest.raises(KeyFileError, match=rf"2\^{log2_n}, allowed are 2\^10 to 2\^20"):
        open_seed(parsed, FILE, None, 10)


@pytest.mark.parametrize("log2_n", [10, 20])
def test_work_at_the_bounds_is_done(log2_n: int) -> None:
    """The next thing that is asked for is the passphrase."""
    _, parsed = protected(log2_n)
    with pytest.raises(PassphraseNeededError, match="is protected"):
        open_seed(parsed, FILE, None, 10)
