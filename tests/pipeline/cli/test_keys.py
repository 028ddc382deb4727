"""``medsecure keys``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.pipeline.cli.conftest import Medsecure, Study


@pytest.mark.slow
def test_keys_with_a_passphrase_open_only_with_it(
    medsecure: Medsecure, tmp_path: Path, streamed: Path, study: Study
) -> None:
    """The passphrase comes from the environment; a wrong one is exit code 2."""
    made = medsecure("keys", "new", tmp_path / "k", "--json", env={"MEDSECURE_PASSPHRASE": "right"}).json
    assert made["key_id"] == medsecure("keys", "show", tmp_path / "k" / "public", "--json").json["key_id"]
    assert (tmp_path / "k" / "owner.key").stat().st_mode & 0o777 == 0o600
    search = ("index", "search", streamed / "index", "--secret", tmp_path / "k", "--image", study.good[0])
    wrong = medsecure(*search, env={"MEDSECURE_PASSPHRASE": "wrong"}, expect=2)
    assert "passphrase is wrong" in wrong.err
    right = medsecure(*search, env={"MEDSECURE_PASSPHRASE": "right"}, expect=2)
    assert "opens none of" in right.err


def test_keys_are_never_overwritten(medsecure: Medsecure, keys: Path) -> None:
    """A second `keys new` on the same folder refuses."""
    assert "never overwritten" in medsecure("keys", "new", keys, "--no-passphrase", expect=2).err


@pytest.mark.slow
def test_a_changed_passphrase_is_the_only_one_that_opens(medsecure: Medsecure, tmp_path: Path) -> None:
    """Both come from the environment; --no-passphrase removes it."""
    keys = tmp_path / "k"
    medsecure("keys", "new", keys, env={"MEDSECURE_PASSPHRASE": "old"})
    change = ("keys", "change-passphrase", keys)
    both = {"MEDSECURE_PASSPHRASE": "old", "MEDSECURE_NEW_PASSPHRASE": "new"}
    assert medsecure(*change, "--json", env=both).json["files"] == 1
    assert "passphrase is wrong" in medsecure("keys", "rotate", keys, env=both, expect=2).err
    done = medsecure(*change, "--no-passphrase", "--json", env={"MEDSECURE_PASSPHRASE": "new"}).json
    assert done["protected"] is False
    assert len(medsecure("keys", "rotate", keys, "--json").json["earlier_key_ids"]) == 1


def test_an_exported_bundle_shows_the_same_keys(medsecure: Medsecure, keys: Path, tmp_path: Path) -> None:
    """Nothing secret is in it, and it is never written over."""
    export = ("keys", "export-public", keys, tmp_path / "out", "--json")
    assert medsecure(*export).json["key_id"] == medsecure("keys", "show", keys, "--json").json["key_id"]
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"lwe.pub", "bundle.json"}
    assert "exists already" in medsecure(*export, expect=2).err


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
    (tmp_path / "k" / "worker.key").unlink()
    run = ("run", "--engine", "local", "--source", study.folder, "--keys", tmp_path / "k")
    done = medsecure(*run, "--index", tmp_path / "i", "--results", tmp_path / "r", expect=2)
    assert "medsecure keys add-worker" in done.err
    assert not (tmp_path / "i" / "index.json").exists()
