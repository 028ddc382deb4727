"""``medsecure keys``."""

from __future__ import annotations

from pathlib import Path

from tests.pipeline.cli.conftest import Medsecure, Study


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
