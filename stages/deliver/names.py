"""Names of result files: safe in any file system, and recognisable beside their source."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_SUFFIXES: Final = re.compile(
    r"(\.nii\.gz|\.nii|\.mh[ad]|\.nrrd|\.nhdr|\.png|\.jpe?g|\.webp|\.tiff?|\.dcm)$", re.IGNORECASE
)
_NAME_BYTES: Final = 200  # file systems take 255


def stem(path: str) -> str:
    """The source's file name without its image suffix, safe in any file system and never hidden."""
    name = re.sub(r"[^\w.+-]+", "_", _SUFFIXES.sub("", Path(path).name)).lstrip(".-")
    return name.encode()[:_NAME_BYTES].decode(errors="ignore") or "image"
