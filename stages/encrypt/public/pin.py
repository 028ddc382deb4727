"""``bundle.pin``: whose bundle a folder accepts, and the newest it has seen. Start at ``read_bundle``.

``keys new`` writes it into both halves of a key folder, beside ``public/``, which travels. A bundle is
accepted only with both signatures of the pinned owner, for the pinned site, and never an older one than was
seen: an attacker who exchanges ``public/`` cannot exchange the owner, undo a revocation or restore a key.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stages import files
from stages.encrypt.public.bundle import Bundle, Hex32, is_unsigned, parse_bundle
from stages.encrypt.public.keyfiles import KeyFileError, read
from stages.encrypt.public.layout import BUNDLE, PIN, PUBLIC_FOLDER, site_folder
from stages.errors import RefusedError

_OTHERS_WRITE = 0o022


class BundleRefusedError(KeyFileError, RefusedError):
    """A public folder that this folder's owner does not vouch for: exchanged, changed, older or foreign."""


class Pin(BaseModel):
    """``bundle.pin``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["medsecure-bundle-pin"] = "medsecure-bundle-pin"
    version: Literal[1] = 1
    owner_id: Hex32
    site_id: Hex32
    number: Annotated[int, Field(strict=True, ge=1, lt=1 << 63)]  # of the newest bundle seen
    digest: Hex32  # of its contents

    def encode(self) -> bytes:
        """The file's bytes."""
        return self.model_dump_json(indent=2).encode() + b"\n"


def pin_of(bundle: Bundle) -> Pin:
    """The pin of a folder that has seen this bundle."""
    contents = bundle.contents
    return Pin(
        owner_id=contents.owner.id, site_id=contents.site_id, number=contents.number, digest=contents.digest
    )


def read_bundle(directory: Path) -> Bundle:
    """The bundle of a site's folder, or of the key folder around it, checked under the folder's pin.

    Raises BundleRefusedError where the pinned owner does not vouch for it, KeyFileError where a file is
    missing or damaged.
    """
    site = site_folder(directory)
    file = site / PUBLIC_FOLDER / BUNDLE
    data = read(file, "make keys with 'medsecure keys new', or copy the site's folder whole")
    bundle = parse_bundle(data)
    if bundle is None:
        if is_unsigned(data):
            raise BundleRefusedError(
                f"{file} is of a version that nobody signed: run 'medsecure keys add-worker' where the "
                "owner's key is, then give out the site's folder again"
            )
        raise BundleRefusedError(
            f"{file} is not a public bundle of this version, or was changed: fetch it from the owner again"
        )
    admit(site, bundle, file)
    return bundle


def admit(folder: Path, bundle: Bundle, file: Path) -> None:
    """Raise BundleRefusedError, which names ``file``, unless this folder's pin admits the bundle in it."""
    pin, contents = read_pin(folder), bundle.contents
    if contents.owner.id != pin.owner_id:
        raise BundleRefusedError(
            f"{file} is of owner {contents.owner.id[:16]}, and {folder / PIN} names {pin.owner_id[:16]}: "
            "it was exchanged, so fetch it from the owner again"
        )
    if wrong := bundle.wrong_signature():
        raise BundleRefusedError(
            f"{file} does not have the owner's {wrong} signature: it was changed, so fetch it from the owner "
            "again"
        )
    if contents.site_id != pin.site_id:
        raise BundleRefusedError(
            f"{file} is for site {contents.site_id[:16]} of this owner, and this is site {pin.site_id[:16]}: "
            "fetch this site's from the owner again"
        )
    if contents.number < pin.number:
        raise BundleRefusedError(
            f"{file} is number {contents.number}, and number {pin.number} was seen here: an old one was put "
            "back, so fetch the newest from the owner again"
        )
    if contents.number == pin.number and contents.digest != pin.digest:
        raise BundleRefusedError(
            f"{file} is another bundle of number {pin.number} than the one seen here: the owner's key signed "
            "two, so ask the owner"
        )


def read_pin(folder: Path) -> Pin:
    """The pin of either half of a key folder. Raises KeyFileError, also where others could change it."""
    file = folder / PIN
    data = read(file, "it says whose keys are believed here, so copy the site's folder whole")
    try:
        pin = Pin.model_validate_json(data)
    except ValidationError:
        pin = None
    if pin is None or pin.encode() != data:
        raise KeyFileError(f"{file} is damaged: copy the site's folder again, and compare the owner id")
    if stat.S_IMODE(file.stat().st_mode) & _OTHERS_WRITE:
        raise KeyFileError(f"{file} may be changed by other users: run 'chmod go-w {file}'")
    return pin


def remember(folder: Path, bundle: Bundle) -> None:
    """Admit from now on no older bundle than this one, which was admitted. Raises KeyFileError."""
    if bundle.contents.number > read_pin(folder).number:
        try:
            files.write_whole(folder / PIN, pin_of(bundle).encode())
        except OSError as error:
            raise KeyFileError(
                f"{folder / PIN} cannot be written ({error.strerror}): it must name the newest bundle seen, "
                "so make the folder writable"
            ) from error
