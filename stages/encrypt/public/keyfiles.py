"""Reading key files, and the error for one that cannot be used."""

from __future__ import annotations

from pathlib import Path

from stages.errors import OperatorError


class KeyFileError(OperatorError):
    """A key file that is missing, damaged, unsafe or does not open: names the file and what to do."""


def read(file: Path, advice: str) -> bytes:
    """A file's bytes; the error states what to do about a missing one."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{file} cannot be read ({error.strerror}): {advice}") from error
