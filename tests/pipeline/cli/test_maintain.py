"""``medsecure index erase``, ``compact`` and ``fsck`` on a streamed study."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.pipeline.cli.conftest import Medsecure, Study


@pytest.fixture
def index(streamed: Path, tmp_path: Path) -> Path:
    """A copy, to change."""
    return shutil.copytree(streamed / "index", tmp_path / "index")


def test_an_erased_record_is_nowhere_to_be_found(
    index: Path, keys: Path, medsecure: Medsecure, tmp_path: Path
) -> None:
    """Not listed, not opened, not among the hits; the index verifies and says how many are gone."""
    secret = keys / "owner" / "owner.key"
    listed = medsecure("index", "list", index, "--json").json
    gone = listed[4]["key"]
    feature = medsecure("index", "get", index, gone, "--secret", secret, "--json").json["feature"]
    done = medsecure("index", "erase", index, gone[:20], "--json").json
    assert (done["erased"], done["size"]) == (1, len(listed) + 1)
    left = medsecure("index", "list", index, "--json").json
    assert left == [one for one in listed if one["key"] != gone]
    medsecure("index", "get", index, gone, "--secret", secret, expect=2)
    (tmp_path / "v.json").write_text(str(feature))
    vector = ("--vector", tmp_path / "v.json", "--top", 50)
    hits = medsecure("index", "search", index, "--secret", secret, *vector, "--json").json
    assert sorted(hit["key"] for hit in hits) == sorted(one["key"] for one in left)
    assert all(hit["proof_ok"] for hit in hits)
    assert medsecure("index", "verify", index, "--json").json["ok"]
    figures = medsecure("index", "stats", index, "--json").json
    assert (figures["records"], figures["erased"]) == (len(left), 1)
    assert list(figures["key_ids"].values()) == [len(left)]


def test_an_erasure_is_proven_with_the_public_keys_alone(
    index: Path, medsecure: Medsecure, tmp_path: Path
) -> None:
    """That the record was there, and when, why and by which entry it was erased; not of what is there."""
    listed = medsecure("index", "list", index, "--json").json
    gone, proof, earlier = listed[4]["key"], tmp_path / "erased.proof", tmp_path / "earlier.note"
    shutil.copy(index / "checkpoint", earlier)
    medsecure("index", "erase", index, gone)
    said = medsecure("index", "prove", index, gone, "--out", proof).out
    assert (
        f"record 4 of the log of {len(listed) + 1} records has record id {gone} and was erased on 20" in said
    )
    assert f"by entry {len(listed)}; cause: request" in said
    checked = medsecure("verify-proof", proof, "--key", index / "checkpoint.pub", "--json").json
    assert (checked["ok"], checked["claim"], checked["key"], checked["index"]) == (True, "erasure", gone, 4)
    assert (checked["erased_by"], checked["cause"]) == (len(listed), "request")
    before = medsecure("index", "prove", index, gone, "--at", earlier, "--out", proof, "--json").json
    assert (before["claim"], before["index"]) == ("inclusion", 4)


@pytest.mark.slow
def test_an_erased_image_is_rejected_when_it_comes_again(
    index: Path, study: Study, keys: Path, medsecure: Medsecure, tmp_path: Path
) -> None:
    """By name, and counted."""
    gone = medsecure("index", "list", index, "--json").json[4]["key"]
    medsecure("index", "erase", index, gone)
    summary = medsecure(
        *("run", "--engine", "local", "--source", study.folder, "--keys", keys, "--max-rejects", "50%"),
        *("--index", index, "--results", tmp_path / "results", "--json"),
    ).json
    assert summary["rejects_by_reason"]["erased"] == 1
    assert (summary["indexed"], summary["already_indexed"]) == (0, 11)


def test_records_are_erased_by_age(index: Path, medsecure: Medsecure) -> None:
    """None is a day old; all are older than nothing; a second time there is nothing left to do."""
    count = len(medsecure("index", "list", index, "--json").json)
    assert medsecure("index", "erase", index, "--older-than", 1, "--json").json["erased"] == 0
    assert medsecure("index", "erase", index, "--older-than", 0, "--json").json["erased"] == count
    assert medsecure("index", "erase", index, "--older-than", 0, "--json").json["erased"] == 0
    assert medsecure("index", "list", index, "--json").json == []
    before = sum(file.stat().st_size for file in (index / "segments").iterdir())
    done = medsecure("index", "compact", index, "--json").json
    assert done["segments_after"] == 1
    assert sum(file.stat().st_size for file in (index / "segments").iterdir()) < before
    assert medsecure("index", "fsck", index, "--json").json["ok"]


def test_a_check_names_what_is_wrong_and_repairs_what_is_derived(index: Path, medsecure: Medsecure) -> None:
    """Exit code 1 until it is repaired."""
    tile = next((index / "tile" / "0").rglob("*.p/*"))
    data = tile.read_bytes()
    tile.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    (index / "staging" / "left").write_bytes(b"")
    found = medsecure("index", "fsck", index, "--json", expect=1).json
    assert {str(one["file"]) for one in found["errors"]} == {str(tile.relative_to(index)), "staging"}
    assert all(one["repairable"] for one in found["errors"])
    assert "repairable" in medsecure("index", "fsck", index, expect=1).out
    assert medsecure("index", "fsck", index, "--repair", "--json").json["ok"]
    assert "sound" in medsecure("index", "fsck", index).out


@pytest.mark.parametrize("arguments", [(), ("ab", "--older-than", 3), ("zz",)])
def test_what_to_erase_must_be_said(index: Path, medsecure: Medsecure, arguments: tuple[object, ...]) -> None:
    """Exactly one of key and age; a key that is there, once."""
    assert medsecure("index", "erase", index, *arguments, expect=2).err


@pytest.mark.parametrize("command", [("erase", "ab"), ("compact",), ("fsck",)])
def test_a_folder_that_is_no_index_is_not_made_one(
    medsecure: Medsecure, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Opening a writer would make it one."""
    name, *rest = command
    assert "is not an index" in medsecure("index", name, tmp_path, *rest, expect=2).err
    assert not list(tmp_path.iterdir())
