"""Files that are whole or absent: temporary name in the same folder, fsync, rename (POSIX rename(2))."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Final

_PART: Final = ".part"
_SUFFIXES: Final = re.compile(r"(\.nii\.gz|\.nii|\.png|\.jpe?g|\.tiff?|\.dcm)$", re.IGNORECASE)
_NAME_BYTES: Final = 200  # file systems take 255


def write_whole(file: Path, data: bytes) -> None:
    """Replace ``file`` by ``data``; whoever looks sees the old content or the new, also after a crash."""
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}{_PART}")
    try:
        with part.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make the folder's renames durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_folder(folder: Path) -> None:
    """Make the folder, or clear an earlier one of what a killed worker left half written."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in folder.glob(f".*{_PART}"):
        part.unlink(missing_ok=True)


def stem(path: str) -> str:
    """The source's file name without its image suffix, safe in any file system and never hidden."""
    name = re.sub(r"[^\w.+-]+", "_", _SUFFIXES.sub("", Path(path).name)).lstrip(".-")
    return name.encode()[:_NAME_BYTES].decode(errors="ignore") or "image"
