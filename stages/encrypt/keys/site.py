"""``site.key``: the ingesting site's 32 secret bytes, for pseudonyms and tickets."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from stages.encrypt.keys.secretfiles import read_secret
from stages.encrypt.public.keyfiles import KeyFileError
from stages.encrypt.public.layout import SITE, site_folder

SITE_BYTES: Final = 32


def load_site_secret(directory: Path) -> bytes:
    """The site's 32 secret bytes, from its folder or the key folder around it."""
    file = site_folder(directory) / SITE
    text = read_secret(file, "name the site's folder, or the key folder around it")
    try:
        secret = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        secret = b""
    if len(secret) != SITE_BYTES:
        raise KeyFileError(
            f"{file} does not hold {2 * SITE_BYTES} hexadecimal digits: restore it from a copy"
        )
    return secret
