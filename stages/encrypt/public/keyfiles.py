"""Reading key files, and the error for one that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from stages.errors import OperatorError

_MOST_BYTES: Final = 32 << 20  # lwe.pub of LWE64 has 20 MiB


class KeyFileError(OperatorError):
    """A key file that is missing, damaged, unsafe or does not open: names the file and what to do."""


def read(file: Path, advice: str) -> bytes:
    """A file's bytes; the error states what to do about a missing one."""
    try:
        with file.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise KeyFileError(f"{file} cannot be read ({error.strerror}): {advice}") from error
    if len(data) > _MOST_BYTES:
        raise KeyFileError(f"{file} is too long for a key file: {advice}")
    return data
