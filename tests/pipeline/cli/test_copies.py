"""``medsecure index push`` and ``pull`` on a streamed study."""

from __future__ import annotations

from pathlib import Path

from tests.pipeline.cli.conftest import Medsecure


def test_a_pulled_copy_is_searched_like_the_index(
    streamed: Path, keys: Path, medsecure: Medsecure, tmp_path: Path
) -> None:
    """Pushed to a URI, pulled under the log's keys: same records, same hits, verified."""
    index, uri, copy = streamed / "index", (tmp_path / "there").as_uri(), tmp_path / "copy"
    pushed = medsecure("index", "push", index, uri, "--json").json
    assert (pushed["size"], pushed["size_before"]) == (12, None)
    assert "0 objects" in medsecure("index", "push", index, uri).out
    pulled = medsecure("index", "pull", uri, copy, "--key", index / "checkpoint.pub", "--json").json
    assert (pulled["size"], pulled["root"]) == (12, pushed["root"])
    listed = medsecure("index", "list", index, "--json").json
    assert medsecure("index", "list", copy, "--json").json == listed
    secret = ("--secret", keys / "owner" / "owner.key")
    feature = medsecure("index", "get", copy, listed[3]["key"], *secret, "--json").json["feature"]
    (tmp_path / "v.json").write_text(str(feature))
    hits = medsecure("index", "search", copy, *secret, "--vector", tmp_path / "v.json", "--json").json
    assert hits[0]["proof_ok"]
    assert (
        hits == medsecure("index", "search", index, *secret, "--vector", tmp_path / "v.json", "--json").json
    )
    assert medsecure("index", "verify", copy, "--json").json["ok"]


def test_what_cannot_be_used_is_refused_by_name(streamed: Path, medsecure: Medsecure, tmp_path: Path) -> None:
    """Exit code 2 and one sentence, without credentials."""
    refused = medsecure("index", "push", streamed / "index", "nfs://me:s3cr3t@host/a", expect=2)
    assert "nfs://host/a" in refused.err
    assert "s3cr3t" not in refused.err
    assert "is not an index" in medsecure("index", "push", tmp_path, tmp_path / "a", expect=2).err
    assert "holds no log" in medsecure("index", "pull", tmp_path / "a", tmp_path / "b", expect=2).err
    key = medsecure("index", "pull", tmp_path / "a", tmp_path / "b", "--key", tmp_path / "k", expect=2)
    assert str(tmp_path / "k") in key.err
