"""The ``public/`` folder as a worker or an index server holds it: every key in it, nothing secret."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stages.encrypt.lwe.errors import PublicKeyError
from stages.encrypt.lwe.wire import LwePublicKey, decode_public_key
from stages.encrypt.public.bundle import read_bundle
from stages.encrypt.public.keyfiles import KeyFileError, read
from stages.encrypt.public.layout import BUNDLE, LWE, PUBLIC_FOLDER, site_folder


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """What an encrypting worker holds: nothing secret."""

    lwe: LwePublicKey
    hpke: bytes  # raw X25519 public key
    key_id: bytes  # SHA-256 of the LWE public key's bytes
    hpke_id: str
    workers: tuple[str, ...]  # ids of the keys whose signatures an index takes
    earlier: tuple[bytes, ...] = ()  # LWE keys of the same owner's earlier generations, newest first


def load_public(directory: Path) -> PublicKeys:
    """What is public of a site's folder, or of the key folder around it."""
    folder = site_folder(directory) / PUBLIC_FOLDER
    bundle = read_bundle(directory)
    try:
        lwe = decode_public_key(read(folder / LWE, "copy the whole public folder"))
    except PublicKeyError as error:
        raise KeyFileError(f"{folder / LWE}: {error}") from error
    if lwe.key_id.hex() != bundle.key_id or lwe.parameters.name != bundle.parameters:
        raise KeyFileError(
            f"{folder / LWE} is not the key that {BUNDLE} names: copy the public folder again, or, where "
            "'medsecure keys rotate' was interrupted, run it again"
        )
    workers = tuple(key.id for key in bundle.verification_keys)
    earlier = tuple(map(bytes.fromhex, bundle.earlier))
    return PublicKeys(lwe, bundle.hpke_public, lwe.key_id, bundle.hpke_id, workers, earlier)
