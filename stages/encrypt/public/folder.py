"""What a worker or an index server holds of ``public/``: every key in it, nothing secret."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stages.encrypt.lwe.errors import PublicKeyError
from stages.encrypt.lwe.wire import LwePublicKey, decode_public_key
from stages.encrypt.public.keyfiles import KeyFileError, read
from stages.encrypt.public.layout import BUNDLE, LWE, PUBLIC_FOLDER, site_folder
from stages.encrypt.public.pin import BundleRefusedError, read_bundle


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """What an encrypting worker holds: nothing secret."""

    lwe: LwePublicKey
    hpke: bytes  # raw X25519 public key
    key_id: bytes  # SHA-256 of the LWE public key's bytes
    hpke_id: str
    owner_id: str  # of the keys that vouch for all the others
    site_id: str
    number: int  # of the bundle
    workers: tuple[str, ...]  # ids of the keys whose signatures an index takes
    revoked: tuple[str, ...] = ()  # of those whose signatures it took before
    earlier: tuple[bytes, ...] = ()  # LWE keys of the same owner's earlier generations, newest first


def load_public(directory: Path) -> PublicKeys:
    """What is public of a site's folder, or of the key folder around it, checked under its pin.

    Raises KeyFileError, of which BundleRefusedError says that the pinned owner does not vouch for it.
    """
    contents = read_bundle(directory).contents
    file = site_folder(directory) / PUBLIC_FOLDER / LWE
    try:
        lwe = decode_public_key(read(file, "copy the whole public folder"))
    except PublicKeyError as error:
        raise KeyFileError(f"{file}: {error}") from error
    if lwe.key_id.hex() != contents.key_id or lwe.parameters.name != contents.parameters:
        raise BundleRefusedError(
            f"{file} is not the key that {BUNDLE} names: copy the public folder again, or, where "
            "'medsecure keys rotate' was interrupted, run it again"
        )
    return PublicKeys(
        lwe,
        contents.hpke_public,
        lwe.key_id,
        contents.hpke_id,
        contents.owner.id,
        contents.site_id,
        contents.number,
        tuple(key.id for key in contents.verification_keys),
        tuple(key.id for key in contents.revoked),
        tuple(bytes.fromhex(key.key_id) for key in contents.earlier),
    )
