from __future__ import annotations

from pathlib import Path

import pytest

from stages.encrypt.keys.folder import OwnerKeys, load_owner, new_keys
from stages.encrypt.keys.opening import open_sealed
from stages.encrypt.public.folder import PublicKeys
from stages.encrypt.public.sealing import SEAL_OVERHEAD, Sealer, SealError

TEXT = b'{"PatientName": "Doe^Jane"}'


@pytest.mark.parametrize("plaintext", [b"", TEXT, bytes(100_000)])
def test_the_owner_opens_what_was_sealed(public: PublicKeys, owner: OwnerKeys, plaintext: bytes) -> None:
    """open(seal(x)) is x, and costs the stated number of bytes."""
    sealed = Sealer(public.hpke).seal(plaintext, b"key")
    assert open_sealed(owner, sealed, b"key") == plaintext
    assert len(sealed) == len(plaintext) + SEAL_OVERHEAD


def test_sealing_is_randomised_and_hides_the_text(public: PublicKeys) -> None:
    """Two seals of one text share nothing but the version."""
    sealer = Sealer(public.hpke)
    one, two = sealer.seal(TEXT, b""), sealer.seal(TEXT, b"")
    assert one[1:33] != two[1:33]
    assert TEXT[2:10] not in one


def test_every_flipped_bit_is_noticed(public: PublicKeys, owner: OwnerKeys) -> None:
    """No bit of a sealed blob can change, its version included."""
    sealed = Sealer(public.hpke).seal(b"x", b"key")
    for bit in range(8 * len(sealed)):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealError):
            open_sealed(owner, bytes(flipped), b"key")


def test_a_blob_moved_to_another_record_does_not_open(public: PublicKeys, owner: OwnerKeys) -> None:
    """The seal is bound to what it was made for."""
    sealed = Sealer(public.hpke).seal(TEXT, b"record 1")
    for aad in (b"record 2", b"", b"record 1 "):
        with pytest.raises(SealError, match="misplaced"):
            open_sealed(owner, sealed, aad)


def test_another_owner_cannot_open(public: PublicKeys, tmp_path: Path) -> None:
    """Only the private key of the sealing key opens."""
    new_keys(tmp_path, None)
    with pytest.raises(SealError):
        open_sealed(load_owner(tmp_path, None), Sealer(public.hpke).seal(TEXT, b"k"), b"k")


@pytest.mark.parametrize("length", [0, 1, 33, SEAL_OVERHEAD - 1])
def test_truncated_blobs_are_named_as_such(public: PublicKeys, owner: OwnerKeys, length: int) -> None:
    """Too short to be a seal at all."""
    with pytest.raises(SealError, match="truncated"):
        open_sealed(owner, Sealer(public.hpke).seal(TEXT, b"")[:length], b"")


def test_another_version_is_named(public: PublicKeys, owner: OwnerKeys) -> None:
    """A blob of a later version is not taken for a damaged one."""
    sealed = Sealer(public.hpke).seal(TEXT, b"")
    with pytest.raises(SealError, match="version 2"):
        open_sealed(owner, b"\x02" + sealed[1:], b"")
