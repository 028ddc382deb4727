"""An encrypting machine is given the folder that ``keys new`` used to make, with ``owner.key`` in it.

An attacker who controls that machine, or the cluster that it belongs to, then decrypts the whole index.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.encrypt.keys.folder import load_owners, new_keys
from stages.encrypt.keys.site import load_site_secret
from stages.encrypt.keys.worker import load_signer
from stages.encrypt.public.folder import load_public
from stages.encrypt.public.keyfiles import KeyFileError
from stages.encrypt.public.signing import load_inspector

LOADERS = (load_public, load_inspector, load_signer, load_site_secret)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "keys"
    new_keys(folder, None)
    return folder


@pytest.fixture
def keys(made: Path, tmp_path: Path) -> Path:
    """Keys in a folder whose name a shell would split."""
    return Path(shutil.copytree(made, tmp_path / "our keys"))


def undivided(keys: Path) -> Path:
    """The folder as older versions made it."""
    for half in ("owner", "site"):
        (keys / half / "logs").rmdir()
        for file in (keys / half).iterdir():
            file.rename(keys / file.name)
        (keys / half).rmdir()
    return keys


@pytest.mark.parametrize("load", LOADERS)
def test_the_owners_secret_beside_the_sites_keys_is_refused(
    load: Callable[[Path], object], keys: Path
) -> None:
    """By every loader that a site's machine runs, with the lines that divide the folder."""
    with pytest.raises(KeyFileError, match="holds the owner's secret beside the site's keys"):
        load(undivided(keys))


@pytest.mark.parametrize("load", LOADERS)
def test_the_owners_folder_is_no_sites_folder(load: Callable[[Path], object], keys: Path) -> None:
    """Also where it is given by itself."""
    with pytest.raises(KeyFileError, match="is the owner's folder"):
        load(keys / "owner")


def test_the_lines_divide_the_folder(keys: Path) -> None:
    """Run as they are printed they give the owner's keys and the site's, and lose none."""
    before, owners = load_site_secret(keys), list(load_owners(keys, None))
    with pytest.raises(KeyFileError) as caught:
        load_site_secret(undivided(keys))
    lines = str(caught.value).splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["install", "mv", "mv"]
    subprocess.run(["sh", "-e", "-c", "\n".join(lines)], check=True)
    assert load_site_secret(keys) == before
    assert list(load_owners(keys, None)) == owners
    assert {(keys / half).stat().st_mode & 0o777 for half in ("owner", "site")} == {0o700}


def test_a_site_needs_no_folder_of_the_owner(keys: Path) -> None:
    """With ``owner/`` taken home, everything that encrypts and appends still opens."""
    (keys / "owner").rename(keys.with_name("home"))
    for folder in (keys, keys / "site"):
        for load in LOADERS:
            load(folder)
    with pytest.raises(KeyFileError, match=r"owner\.key cannot be read"):
        load_owners(keys, None)
