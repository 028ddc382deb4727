"""The owner's signing keys: what they sign is accepted wherever the owner is pinned.

They are derived from the master seed of the owner's *first* generation and stay when the LWE key is rotated,
so the owner id that sites and indexes pin never changes (ADR 17). Both algorithms sign: Ed25519 (RFC 8032)
and, against quantum computers, ML-DSA-44 (FIPS 204, hedged).
"""

from __future__ import annotations

import os
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from stages import files
from stages.encrypt.keys.ownerfile import derive, now, open_seed, read_owner
from stages.encrypt.public.bundle import (
    Bundle,
    Contents,
    EarlierKey,
    OwnerPublic,
    Signatures,
    VerificationKey,
    hpke_id,
)
from stages.encrypt.public.keyfiles import KeyFileError
from stages.encrypt.public.layout import BUNDLE, OWNER, PUBLIC_FOLDER, RETIRED, KeyFolders
from stages.encrypt.public.pin import admit, read_bundle, remember

_SITE_ID_BYTES: Final = 32


class OwnerSigner:
    """The owner's signing keys at work."""

    def __init__(self, seed: bytes) -> None:
        self._ed25519 = Ed25519PrivateKey.from_private_bytes(derive(seed, "owner Ed25519"))
        self._ml_dsa_44 = MLDSA44PrivateKey.from_seed_bytes(derive(seed, "owner ML-DSA-44"))
        self.public = OwnerPublic(
            ed25519=self._ed25519.public_key().public_bytes_raw(),
            ml_dsa_44=self._ml_dsa_44.public_key().public_bytes_raw(),
        )

    def sign_first(
        self,
        parameters: str,
        key_id: bytes,
        hpke: bytes,
        worker: VerificationKey,
        earlier: tuple[EarlierKey, ...] = (),
    ) -> Bundle:
        """The first bundle of a new site."""
        first = Contents(
            number=1,
            created=now(),
            site_id=os.urandom(_SITE_ID_BYTES).hex(),
            owner=self.public,
            parameters=parameters,
            key_id=key_id.hex(),
            hpke_id=hpke_id(hpke),
            hpke_public=hpke,
            verification_keys=(worker,),
            earlier=earlier,
        )
        return self.sign(first)

    def sign(self, contents: Contents) -> Bundle:
        """The bundle of these contents, which name this owner."""
        message = contents.message
        signatures = Signatures(ed25519=self._ed25519.sign(message), ml_dsa_44=self._ml_dsa_44.sign(message))
        return Bundle(contents=contents, signatures=signatures)


def open_signer(
    halves: KeyFolders, passphrase: str | None, least_log2_n: int
) -> tuple[OwnerSigner, Contents]:
    """The owner's signing keys, and what they last signed for the site: the next bundle goes on from there.

    Raises KeyFileError where the key does not open, and where either half does not admit the bundle.
    """
    bundle = read_bundle(halves.site)
    admit(halves.owner, bundle, halves.site / PUBLIC_FOLDER / BUNDLE)
    contents = bundle.contents
    first = contents.earlier[-1].key_id if contents.earlier else contents.key_id
    file = halves.owner / OWNER
    if read_owner(file).key_id != first:
        file = halves.owner / RETIRED / f"{first}.key"
    signer = OwnerSigner(open_seed(read_owner(file), file, passphrase, least_log2_n))
    if signer.public != contents.owner:
        raise KeyFileError(f"{file} is not the key that {BUNDLE} was signed with: restore the folder")
    return signer, contents


def publish(halves: KeyFolders, bundle: Bundle) -> None:
    """Put a new bundle into the site's folder; from then on neither half admits an older one."""
    files.write_whole(halves.site / PUBLIC_FOLDER / BUNDLE, bundle.encode())
    for half in (halves.site, halves.owner):
        remember(half, bundle)
