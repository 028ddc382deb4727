"""``medsecure keys``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.pipeline.cli.conftest import Medsecure, Study

OLD, NEW = "the old passphrase", "the new passphrase"
PUBLIC = {"lwe.pub", "bundle.json", "bundle.pin"}


@pytest.mark.slow
def test_keys_with_a_passphrase_open_only_with_it(
    medsecure: Medsecure, tmp_path: Path, streamed: Path, study: Study
) -> None:
    """The passphrase comes from the environment; a wrong one is exit code 2."""
    made = medsecure("keys", "new", tmp_path / "k", "--json", env={"MEDSECURE_PASSPHRASE": OLD}).json
    assert made["key_id"] == medsecure("keys", "show", tmp_path / "k" / "site", "--json").json["key_id"]
    assert (tmp_path / "k" / "owner" / "owner.key").stat().st_mode & 0o777 == 0o600
    search = ("index", "search", streamed / "index", "--secret", tmp_path / "k", "--image", study.good[0])
    wrong = medsecure(*search, env={"MEDSECURE_PASSPHRASE": "wrong"}, expect=2)
    assert "passphrase is wrong" in wrong.err
    right = medsecure(*search, env={"MEDSECURE_PASSPHRASE": OLD}, expect=2)
    assert "opens none of" in right.err


def test_keys_are_never_overwritten(medsecure: Medsecure, keys: Path) -> None:
    """A second `keys new` on the same folder refuses."""
    assert "never overwritten" in medsecure("keys", "new", keys, "--no-passphrase", expect=2).err


def test_a_passphrase_file_is_one_private_line(medsecure: Medsecure, tmp_path: Path) -> None:
    """Open to others, not one line, binary or short: each is one sentence, and no key is made."""
    file = tmp_path / "passphrase.txt"
    make = ("keys", "new", tmp_path / "k", "--passphrase-file", file)
    assert "passphrase.txt cannot be read" in medsecure(*make, expect=2).err
    for data, mode, sentence in (
        (OLD.encode(), 0o644, "chmod 600"),
        (b"", 0o600, "one line"),
        (f"{OLD}\n{OLD}\n".encode(), 0o600, "one line"),
        (b"\xff" * 20, 0o600, "not UTF-8"),
        (b"only short\n", 0o600, "needs 15"),
    ):
        file.write_bytes(data)
        file.chmod(mode)
        assert sentence in medsecure(*make, expect=2).err
    assert not (tmp_path / "k").exists()


@pytest.mark.slow
def test_a_changed_passphrase_is_the_only_one_that_opens(medsecure: Medsecure, tmp_path: Path) -> None:
    """They come from the environment, or from files, which go before it; --no-passphrase removes it."""
    keys = tmp_path / "k"
    medsecure("keys", "new", keys, env={"MEDSECURE_PASSPHRASE": OLD})
    for name, line in (("old", OLD), ("new", f"{NEW}\n")):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text(line)
    change = ("keys", "change-passphrase", keys)
    files = ("--passphrase-file", tmp_path / "old", "--new-passphrase-file", tmp_path / "new")
    wrong = {"MEDSECURE_PASSPHRASE": "something else", "MEDSECURE_NEW_PASSPHRASE": "something else yet"}
    both = {"MEDSECURE_PASSPHRASE": OLD, "MEDSECURE_NEW_PASSPHRASE": NEW}
    assert medsecure(*change, *files, "--json", env=wrong).json["files"] == 1
    assert "passphrase is wrong" in medsecure("keys", "rotate", keys, env=both, expect=2).err
    done = medsecure(*change, "--no-passphrase", "--json", env={"MEDSECURE_PASSPHRASE": NEW}).json
    assert done["protected"] is False
    assert len(medsecure("keys", "rotate", keys, "--json").json["earlier_key_ids"]) == 1


def test_an_exported_bundle_shows_the_same_keys(medsecure: Medsecure, keys: Path, tmp_path: Path) -> None:
    """Nothing secret is in it, and it is never written over."""
    export = ("keys", "export-public", keys, tmp_path / "out", "--json")
    assert medsecure(*export).json["key_id"] == medsecure("keys", "show", keys, "--json").json["key_id"]
    assert {file.name for file in (tmp_path / "out").rglob("*.*")} == PUBLIC
    assert "exists already" in medsecure(*export, expect=2).err


def test_workers_are_added_and_revoked(medsecure: Medsecure, keys: Path, tmp_path: Path) -> None:
    """Each signs the bundle anew, and a forged one is exit code 4."""
    mine = Path(shutil.copytree(keys, tmp_path / "k"))
    forged = (mine / "site" / "public" / "bundle.json").read_bytes().replace(b"LWE32", b"LWE64")
    (mine / "site" / "worker.key").unlink()
    added = medsecure("keys", "add-worker", mine, "--json").json["worker_id"]
    assert medsecure("keys", "revoke-worker", mine, added[:16], "--json").json["revoked"] == added
    shown = medsecure("keys", "show", mine, "--json").json
    assert (shown["bundle"], shown["revoked_worker_ids"]) == (3, [added])
    assert shown["owner_id"] == medsecure("keys", "show", keys, "--json").json["owner_id"]
    assert "give out site/public/" in medsecure("keys", "revoke-worker", mine, shown["worker_ids"][0]).out
    (mine / "site" / "public" / "bundle.json").write_bytes(forged)
    assert "Ed25519 signature" in medsecure("keys", "show", mine, expect=4).err


def test_keys_are_shown_to_people_unless_a_document_is_asked_for(medsecure: Medsecure, keys: Path) -> None:
    """One line a fact, with the id that the document has."""
    shown = medsecure("keys", "show", keys).out
    assert medsecure("keys", "show", keys, "--json").json["key_id"] in shown
    assert not shown.startswith("{")


def test_unknown_parameters_make_no_keys(medsecure: Medsecure, tmp_path: Path) -> None:
    """The sentence lists what there is."""
    done = medsecure("keys", "new", tmp_path / "k", "--no-passphrase", "--parameters", "LWE16", expect=2)
    assert "LWE32" in done.err
    assert not (tmp_path / "k").exists()


def test_a_key_folder_without_a_worker_starts_no_run(
    medsecure: Medsecure, keys: Path, study: Study, tmp_path: Path
) -> None:
    """The sentence names the command that makes the key."""
    shutil.copytree(keys, tmp_path / "k")
    (tmp_path / "k" / "site" / "worker.key").unlink()
    run = ("run", "--engine", "local", "--source", study.folder, "--keys", tmp_path / "k")
    done = medsecure(*run, "--index", tmp_path / "i", "--results", tmp_path / "r", expect=2)
    assert "medsecure keys add-worker" in done.err
    assert not (tmp_path / "i" / "index.json").exists()
