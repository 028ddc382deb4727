"""Whose bundle a folder accepts; tests/attacks/test_exchanged_public_folder.py has what attackers try."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.encrypt.keys.workers import add_worker
from stages.encrypt.public.keyfiles import KeyFileError
from stages.encrypt.public.pin import BundleRefusedError, pin_of, read_bundle, read_pin, remember


def newer(keys: Path) -> None:
    """The owner signs number 2 at home, from a copy; only ``public/`` comes to the site."""
    home = Path(shutil.copytree(keys, keys.with_name("home")))
    (home / "site" / "worker.key").unlink()
    add_worker(home, None)
    shutil.copytree(home / "site" / "public", keys / "site" / "public", dirs_exist_ok=True)


def test_both_halves_are_pinned_when_keys_are_made(keys: Path) -> None:
    """With the owner, the site and the first bundle, readable by all and changed by nobody else."""
    bundle = read_bundle(keys)
    for half in ("owner", "site"):
        assert read_pin(keys / half) == pin_of(bundle)
        assert not stat.S_IMODE((keys / half / "bundle.pin").stat().st_mode) & 0o022
    assert (bundle.contents.number, bundle.contents.owner.id) == (1, read_pin(keys / "site").owner_id)


def test_the_newest_bundle_seen_is_the_oldest_believed(keys: Path) -> None:
    """A newer one is believed at once; the older one until the newer is remembered, and never after."""
    shutil.copytree(keys / "site" / "public", keys / "old")
    newer(keys)
    bundle = read_bundle(keys)
    assert bundle.contents.number == 2
    assert read_pin(keys / "site").number == 1
    remember(keys / "site", bundle)
    assert read_pin(keys / "site") == pin_of(bundle)
    read_bundle(keys)
    shutil.copytree(keys / "old", keys / "site" / "public", dirs_exist_ok=True)
    with pytest.raises(BundleRefusedError, match="number 1, and number 2 was seen here"):
        read_bundle(keys)


def test_what_was_seen_is_not_written_again(keys: Path) -> None:
    """So a folder that is mounted read-only serves, unless a newer bundle lies in it."""
    (keys / "site" / "bundle.pin").chmod(0o444)
    before = (keys / "site" / "bundle.pin").stat().st_ino
    remember(keys / "site", read_bundle(keys))
    assert (keys / "site" / "bundle.pin").stat().st_ino == before


def test_a_file_without_an_end_is_not_read_to_its_end(keys: Path) -> None:
    """Whoever may write public/ fills no memory with it."""
    with (keys / "site" / "public" / "bundle.json").open("ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(KeyFileError, match=r"bundle\.json is too long for a key file"):
        read_bundle(keys)


def test_a_missing_pin_believes_nobody(keys: Path) -> None:
    """Removing it does not begin anew."""
    (keys / "site" / "bundle.pin").unlink()
    with pytest.raises(KeyFileError, match=r"bundle\.pin cannot be read .*: it says whose keys are believed"):
        read_bundle(keys)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_pin_that_others_may_change_is_refused(keys: Path, mode: int) -> None:
    """With the command that helps."""
    (keys / "site" / "bundle.pin").chmod(mode)
    with pytest.raises(KeyFileError, match=r"chmod go-w \S+/site/bundle\.pin"):
        read_bundle(keys)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:0],
        lambda data: data[:-1],
        lambda data: data.replace(b"  ", b""),
        lambda data: data.replace(b'"number": 1', b'"number": 0'),
        lambda data: data.replace(b'"number": 1', b'"number": "1"'),
        lambda data: json.dumps(json.loads(data) | {"more": 1}, indent=2).encode() + b"\n",
        lambda data: data.replace(b'"version": 1', b'"version": 2'),
    ],
)
def test_a_damaged_pin_is_refused(keys: Path, change: Callable[[bytes], bytes]) -> None:
    """Only the bytes that the product writes are one."""
    file = keys / "site" / "bundle.pin"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(KeyFileError, match=r"bundle\.pin is damaged"):
        read_bundle(keys)
