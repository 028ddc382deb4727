"""Reading secret key files: refused where other users may read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from stages.encrypt.public.keyfiles import KeyFileError


def read_secret(file: Path, advice: str = "name the owner's key directory") -> bytes:
    """The bytes of a file that only its owner may read."""
    try:
        with file.open("rb") as stream:
            if stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077:
                raise KeyFileError(f"{file} is open to other users: run 'chmod 600 {file}'")
            return stream.read()
    except OSError as error:
        raise KeyFileError(f"{file} cannot be read ({error.strerror}): {advice}") from error
