"""``medsecure index prove``, ``verify-proof`` and ``index witness`` on a streamed study."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.batches import Sealed
from stages.index.options import IndexOptions
from stages.index.session import open_writer
from tests.pipeline.cli.conftest import Medsecure
from tests.stages.index.conftest import make_block  # noqa: F401 - a fixture

ABSENT = "ff" * 32
MakeBlock = Callable[..., Sealed]


def appended(index: Path, block: Sealed) -> None:
    with open_writer(index, IndexOptions()) as writer:
        writer.append(block)


def test_a_proof_convinces_a_stranger_and_a_changed_one_does_not(
    streamed: Path, medsecure: Medsecure, tmp_path: Path
) -> None:
    """The proof file and the log's public keys are enough."""
    index, proof = streamed / "index", tmp_path / "proof.tlog"
    key = medsecure("index", "list", index, "--json").json[5]["key"]
    written = medsecure("index", "prove", index, key, "--out", proof, "--json").json
    assert (written["claim"], written["index"], written["file"]) == ("inclusion", 5, str(proof))
    checked = medsecure("verify-proof", proof, "--key", index / "checkpoint.pub", "--json").json
    assert (checked["ok"], checked["claim"], checked["key"]) == (True, "inclusion", key)
    proof.write_text(proof.read_text().replace("index 5", "index 4"))
    done = medsecure("verify-proof", proof, "--key", index / "checkpoint.pub", "--json", expect=1)
    assert not done.json["ok"]


def test_a_run_leaves_a_log_that_proves_what_is_not_in_it(
    streamed: Path, medsecure: Medsecure, tmp_path: Path
) -> None:
    """The same command, of a key that no record has; the file says of how many records."""
    index, proof = streamed / "index", tmp_path / "absent.proof"
    written = medsecure("index", "prove", index, ABSENT, "--out", proof)
    assert f"none of the first 12 records of the log of 12 records has record id {ABSENT}" in written.out
    checked = medsecure("verify-proof", proof, "--key", index / "checkpoint.pub", "--json").json
    assert (checked["claim"], checked["key"], checked["as_of"]) == ("absence", ABSENT, 12)


def test_growth_since_an_earlier_checkpoint_is_proven(
    streamed: Path,
    medsecure: Medsecure,
    tmp_path: Path,
    make_block: MakeBlock,  # noqa: F811 - the fixture
) -> None:
    """From a note that somebody kept; one of another log is refused in a sentence."""
    index = shutil.copytree(streamed / "index", tmp_path / "index")
    old, proof = shutil.copy(index / "checkpoint", tmp_path / "old.note"), tmp_path / "growth.proof"
    appended(index, make_block(1, 30))
    medsecure("index", "prove", index, "--from", old, "--out", proof)
    checked = medsecure("verify-proof", proof, "--key", index / "checkpoint.pub")
    assert "the log of 42 records begins with the same 12 records as before" in checked.out
    appended(tmp_path / "other", make_block(2, 3))
    other = tmp_path / "other" / "checkpoint"
    assert (
        "is not a checkpoint of this log"
        in medsecure(*("index", "prove", index, "--from", other, "--out", proof), expect=2).err
    )
    assert "either" in medsecure("index", "prove", index, "--out", proof, expect=2).err


def test_a_witness_cosigns_what_continues_and_catches_a_fork(
    streamed: Path,
    medsecure: Medsecure,
    tmp_path: Path,
    make_block: MakeBlock,  # noqa: F811 - the fixture
) -> None:
    """Two copies of the index that append different blocks: exit code 1, and both notes are kept."""
    index = shutil.copytree(streamed / "index", tmp_path / "index")
    fork = shutil.copytree(index, tmp_path / "fork")
    watching = ("--state", tmp_path / "seen", "--key", tmp_path / "w.key", "--json")
    first = medsecure("index", "witness", index, *watching, "--new-key", "example.org/w").json
    assert (first["ok"], first["seen"], first["size"], first["cosigned"]) == (True, None, 12, True)
    appended(index, make_block(1, 4))
    appended(fork, make_block(2, 4))
    assert medsecure("index", "witness", index, *watching).json["seen"] == 12
    caught = medsecure("index", "witness", fork, *watching, expect=1).json
    assert not caught["ok"]
    notes = [Path(file).read_bytes() for file in caught["evidence"]]
    assert notes == [(tmp_path / "seen").read_bytes(), (fork / "checkpoint").read_bytes()]


def test_a_proof_may_have_to_be_witnessed(streamed: Path, medsecure: Medsecure, tmp_path: Path) -> None:
    """With the witness's key beside the log's, its cosignature is demanded as well."""
    index = streamed / "index"
    medsecure(
        *("index", "witness", index, "--state", tmp_path / "seen", "--key", tmp_path / "w", "--new-key", "w")
    )
    medsecure("index", "prove", index, ABSENT, "--out", tmp_path / "bare")
    checking = ("--key", index / "checkpoint.pub", "--key", tmp_path / "w.pub", "--json")
    refused = medsecure("verify-proof", tmp_path / "bare", *checking, expect=1).json
    assert "not signed by w" in refused["reason"]
    medsecure("index", "prove", index, ABSENT, "--at", tmp_path / "seen", "--out", tmp_path / "cosigned")
    assert medsecure("verify-proof", tmp_path / "cosigned", *checking).json["ok"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["index", "prove", "{index}", "ab", "--out", "{tmp}/p"], "'ab' is not a record id"),
        (["index", "prove", "{index}", ABSENT, "--out", "{tmp}/no/p"], "cannot write"),
        (["index", "prove", "{index}", ABSENT, "--out", "{tmp}/p", "--at", "{tmp}"], "cannot read"),
        (
            ["verify-proof", "{index}/checkpoint", "--key", "{index}/index.json"],
            "not a file of a log's public keys",
        ),
        (["index", "witness", "{index}", "--state", "{tmp}/s", "--new-key", "w"], "--new-key needs --key"),
        (["index", "witness", "{index}", "--state", "{tmp}/s", "--key", "{tmp}/k"], "cannot read"),
        (["index", "witness", "{index}", "--state", "{tmp}/no/s"], "cannot keep"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    streamed: Path, medsecure: Medsecure, tmp_path: Path, arguments: list[str], said: str
) -> None:
    """Exit code 2, no traceback."""
    places = {"index": streamed / "index", "tmp": tmp_path}
    done = medsecure(*(argument.format(**places) for argument in arguments), expect=2)
    assert said in done.err
    assert "Traceback" not in done.err
    assert json.loads(done.out or "{}") == {}
