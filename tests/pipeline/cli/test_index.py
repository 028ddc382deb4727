"""``medsecure index`` on a streamed study; proofs are in test_proofs.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stages.encrypt.keys.folder import new_keys
from stages.index.log.note import NoteSigner
from stages.index.store.identity import read_checkpoint, read_identity, read_signing_keys
from stages.segment.checkpoint import SHIPPED, describe
from tests.pipeline.cli.conftest import Medsecure, Study, folders


def test_search_returns_the_image_itself_first(
    study: Study, keys: Path, streamed: Path, medsecure: Medsecure
) -> None:
    """An indexed image is its own nearest neighbour of ten, proven, and opens to its own name."""
    asked = study.good[3]
    index, secret = streamed / "index", keys / "owner" / "owner.key"
    hits = medsecure("index", "search", index, "--secret", secret, "--image", asked, "--json").json
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    assert (len(hits), hits[0]["score"] > 0.99) == (10, True)
    assert all(hit["proof_ok"] for hit in hits)
    record = medsecure("index", "get", index, hits[0]["key"], "--secret", secret, "--json").json
    assert record["identity"]["FileName"] == asked.name
    assert abs(np.linalg.norm(record["feature"]) - 1) < 0.05


def test_search_by_vector_finds_the_record(
    keys: Path, streamed: Path, medsecure: Medsecure, tmp_path: Path
) -> None:
    """A record's own feature vector finds that record."""
    index, secret = streamed / "index", keys / "owner" / "owner.key"
    key = medsecure("index", "list", index, "--json").json[7]["key"]
    record = medsecure("index", "get", index, key, "--secret", secret, "--json").json
    (tmp_path / "v.json").write_text(json.dumps(record["feature"]))
    hits = medsecure(
        *("index", "search", index, "--secret", secret, "--vector", tmp_path / "v.json", "--top", 1, "--json")
    ).json
    assert [hit["key"] for hit in hits] == [key]


def test_search_with_another_owners_key_is_exit_code_2(
    streamed: Path, medsecure: Medsecure, tmp_path: Path
) -> None:
    """A key that opens nothing is an error, never answered with noise."""
    new_keys(tmp_path / "other", None)
    (tmp_path / "v.json").write_text(json.dumps([1.0] * 256))
    query = ("--secret", tmp_path / "other", "--vector", tmp_path / "v.json")
    done = medsecure("index", "search", streamed / "index", *query, expect=2)
    assert "this key opens none of the 12 records" in done.err


def test_one_flipped_byte_names_its_record(streamed: Path, medsecure: Medsecure, tmp_path: Path) -> None:
    """Verification fails and says which record and which file."""
    index = tmp_path / "index"
    shutil.copytree(streamed / "index", index)
    records = medsecure("index", "list", index, "--json").json
    segment = max(index.glob("segment*/**/*"), key=lambda path: path.stat().st_size)
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    report = medsecure("index", "verify", index, "--json", expect=1).json
    assert not report["ok"]
    assert report["errors"][0]["key"] in {record["key"] for record in records}
    assert segment.name in report["errors"][0]["file"]


def test_stats_say_how_much_there_is(streamed: Path, medsecure: Medsecure) -> None:
    """Size and root as in the checkpoint."""
    assert medsecure("index", "stats", streamed / "index", "--json").json["size"] == 12


def test_what_is_no_index_is_exit_code_2(medsecure: Medsecure, tmp_path: Path) -> None:
    """One sentence, no traceback."""
    done = medsecure("index", "stats", tmp_path, expect=2)
    assert str(tmp_path) in done.err
    assert "Traceback" not in done.err


def test_features_of_another_model_are_not_compared(
    study: Study, keys: Path, streamed: Path, medsecure: Medsecure, tmp_path: Path
) -> None:
    """After a change of weights, search and run refuse the index instead of answering nonsense."""
    index = tmp_path / "index"
    shutil.copytree(streamed / "index", index)
    identity, public = read_identity(index)
    now, _ = read_checkpoint(index, public)
    assert now.model == bytes.fromhex(describe(SHIPPED).digest)
    other = NoteSigner(identity.origin, read_signing_keys(index, public), now.keys, bytes(32))
    (index / "checkpoint").write_bytes(other.checkpoint(now.size, now.root))
    asked = ("--secret", keys / "owner" / "owner.key", "--image", study.good[0])
    assert "holds features of weights" in medsecure("index", "search", index, *asked, expect=2).err
    again = ("--engine", "local", "--source", study.folder, "--keys", keys, "--results", tmp_path / "r")
    assert "holds features of weights" in medsecure("run", "--index", index, *again, expect=2).err
    assert medsecure("index", "verify", index, "--json").json["ok"]


def test_slices_prepared_otherwise_than_in_training_are_refused(
    study: Study,
    keys: Path,
    streamed: Path,
    medsecure: Medsecure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Search and run would compare features of other slices with the index's."""
    monkeypatch.setenv("MEDSECURE__PREPROCESS__SPACING_MM", "0.5")
    wanted = "prepared with preprocess.spacing_mm 1.0"
    asked = ("--secret", keys / "owner" / "owner.key", "--image", study.good[0])
    assert wanted in medsecure("index", "search", streamed / "index", *asked, expect=2).err
    fresh = ("--engine", "local", "--source", study.folder, "--keys", keys, *folders(tmp_path))
    assert wanted in medsecure("run", *fresh, expect=2).err
    assert list((tmp_path / "index").iterdir()) == []
