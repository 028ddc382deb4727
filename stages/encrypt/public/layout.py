"""Where the keys lie: the owner keeps ``owner/`` elsewhere, ``site/`` stays where images are encrypted.

A key folder holds both. Whatever encrypts, appends or ingests is given ``site/``, or the folder around it;
a folder that has the owner's secret on the same level as the site's keys is refused, so that nobody gives
it to a machine that must not decrypt.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stages.encrypt.public.keyfiles import KeyFileError

OWNER_FOLDER: Final = "owner"
OWNER: Final = "owner.key"
RETIRED: Final = "retired"
SITE_FOLDER: Final = "site"
SITE: Final = "site.key"
WORKER: Final = "worker.key"
PUBLIC_FOLDER: Final = "public"
LWE: Final = "lwe.pub"
BUNDLE: Final = "bundle.json"
PIN: Final = "bundle.pin"  # in either half: whose bundle is accepted there
LOGS: Final = "logs"  # in either: what was last seen of each log
OWNERS_ONLY: Final = 0o700
_OF_OWNER: Final = (OWNER, RETIRED)
_OF_SITE: Final = (SITE, WORKER, PUBLIC_FOLDER)


@dataclass(frozen=True, slots=True)
class KeyFolders:
    """The two halves of a key folder, as the owner has it."""

    owner: Path
    site: Path


def key_folders(directory: Path) -> KeyFolders:
    """Both halves. Raises KeyFileError where one is missing."""
    _refuse_undivided(directory)
    found = KeyFolders(directory / OWNER_FOLDER, directory / SITE_FOLDER)
    for half in (found.owner, found.site):
        if not half.is_dir():
            raise KeyFileError(f"there is no folder {half}: name the folder that holds owner/ and site/")
    return found


def site_folder(directory: Path) -> Path:
    """The site's folder: the one given, or ``site/`` in it. Raises KeyFileError where the owner's key is."""
    _refuse_undivided(directory)
    if (directory / OWNER).exists():
        raise KeyFileError(f"{directory} is the owner's folder: give the site's, or the one around both")
    inner = directory / SITE_FOLDER
    return inner if inner.is_dir() else directory


def owner_folder(directory: Path) -> Path:
    """The owner's folder: the one given, or ``owner/`` in it."""
    inner = directory / OWNER_FOLDER
    return inner if inner.is_dir() else directory


def taken(directory: Path) -> Path | None:
    """What of keys lies in a folder already."""
    names = (OWNER_FOLDER, SITE_FOLDER, *_OF_OWNER, *_OF_SITE)
    return next((directory / name for name in names if (directory / name).exists()), None)


def _refuse_undivided(directory: Path) -> None:
    """Refuse the layout of before, with the lines that convert it."""
    secret = [directory / name for name in _OF_OWNER if (directory / name).exists()]
    others = [directory / name for name in _OF_SITE if (directory / name).exists()]
    if directory / OWNER in secret and others:
        owner, site = directory / OWNER_FOLDER, directory / SITE_FOLDER
        lines = (
            ("install", "-d", "-m", "700", owner, site),
            ("mv", *secret, owner),
            ("mv", *others, site),
        )
        shell = "".join(f"\n  {shlex.join(map(str, line))}" for line in lines)
        raise KeyFileError(
            f"{directory} holds the owner's secret beside the site's keys: divide it with these lines, then "
            f"sign its bundle with 'medsecure keys add-worker {directory}'{shell}"
        )
