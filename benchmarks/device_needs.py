"""What the device benchmark needs, and whether it is there: standard library only, since it looks first.

A *pack* is a folder that ``device_pack`` makes: an archive of packages that the machine lacks, for training
the prepared slices as well, and ``pack.json``, which lists its modules, and its files with their SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
MANIFEST: Final = "pack.json"
ARCHIVE: Final = "env.tar.xz"
SET: Final = "set.safetensors.xz"
MODES: Final = ("checks", "train")
# Modules that the machine has itself. A toy rehearsal in the project's own environment has all of both lists.
ON_MACHINE: Final = (
    "torch",
    "numpy",
    "scipy",
    "cv2",
    "PIL",
    "matplotlib",
    "psutil",
    "rich",
    "safetensors",
    "threadpoolctl",
    "tifffile",
    "typer",
)
MODULES: Final = {  # module: distribution, of what the pack brings
    "annotated_types": "annotated-types",
    "cffi": "cffi",
    "cryptography": "cryptography",
    "dotenv": "python-dotenv",
    "highdicom": "highdicom",
    "imagecodecs": "imagecodecs",
    "jpeg_ls": "pyjpegls",
    "jsonschema": "jsonschema",
    "jsonschema_specifications": "jsonschema-specifications",
    "nibabel": "nibabel",
    "openjpeg": "pylibjpeg-openjpeg",
    "pycparser": "pycparser",
    "pydantic": "pydantic",
    "pydantic_core": "pydantic_core",
    "pydantic_settings": "pydantic-settings",
    "pydicom": "pydicom",
    "pylibjpeg": "pylibjpeg",
    "ray": "ray",
    "referencing": "referencing",
    "rle": "pylibjpeg-rle",
    "rpds": "rpds-py",
    "typing_inspection": "typing-inspection",
}
NOT_FOR_TRAINING: Final = ("ray", "imagecodecs", "jpeg_ls", "openjpeg", "pylibjpeg", "rle")
ONLY_FOR_CHECKS: Final = ("hypothesis", "prometheus_client", "pyarrow", "pytest", "pytest_timeout")


def modules(mode: str) -> tuple[str, ...]:
    """Of the pack for this mode."""
    return tuple(one for one in MODULES if mode == "checks" or one not in NOT_FOR_TRAINING)


def missing(mode: str, pack: Path | None) -> list[str]:
    """Names of files and modules that are not there; with a pack, what it brings counts as there.

    Nothing is imported or unpacked: it takes a second.
    """
    wanted = list(ON_MACHINE) + list(ONLY_FOR_CHECKS if mode == "checks" else ())
    if pack is None:
        return [name for name in (*wanted, *modules(mode)) if find_spec(name) is None]
    if not (pack / MANIFEST).is_file():
        return [str(pack / MANIFEST)]
    manifest = json.loads((pack / MANIFEST).read_text())
    lacking = [name for name in modules(mode) if name not in manifest["modules"]]
    lacking += [name for name in wanted if find_spec(name) is None]
    files = {ARCHIVE, SET} if mode == "train" else {ARCHIVE}
    listed: dict[str, Any] = manifest["files"]
    lacking += [f"{name} in {pack / MANIFEST}" for name in sorted(files - set(listed))]
    return lacking + [
        f"{pack / name} whole" for name in sorted(listed) if not _is_whole(pack / name, listed[name])
    ]


def digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_whole(path: Path, wanted: str) -> bool:
    return path.is_file() and digest(path) == wanted
