"""``site.key``: the ingesting site's 32 secret bytes, for pseudonyms and tickets."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from stages.encrypt.keys.secretfiles import read_secret
from stages.encrypt.public.keyfiles import KeyFileError

SITE: Final = "site.key"
SITE_BYTES: Final = 32


def load_site_secret(directory: Path) -> bytes:
    """The site's 32 secret bytes, from the key directory or, given its ``public`` folder, from beside it."""
    file = directory / SITE
    if not file.exists() and (directory.resolve().parent / SITE).exists():
        file = directory.resolve().parent / SITE
    text = read_secret(file)
    try:
        secret = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        secret = b""
    if len(secret) != SITE_BYTES:
        raise KeyFileError(
            f"{file} does not hold {2 * SITE_BYTES} hexadecimal digits: restore it from a copy"
        )
    return secret
