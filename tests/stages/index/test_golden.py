"""The golden indexes in tests/vectors, one a format: what was written once is read by every later version."""

from __future__ import annotations

import json
import runpy
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stages.index.check.verify import verify
from stages.index.errors import ErasedError
from stages.index.options import IndexOptions
from stages.index.reader import open_reader
from stages.index.session import open_writer
from stages.index.store import identity
from stages.index.verifier import open_checkpoint, parse_keys, verify_proof

VECTORS = Path(__file__).resolve().parents[2] / "vectors"
GOLDEN = sorted(VECTORS.glob("index-*"))


@dataclass(frozen=True)
class Golden:
    """A copy of a golden folder, and what its maker found in it."""

    folder: Path
    answers: dict[str, Any]

    @property
    def index(self) -> Path:
        return self.folder / "index"


@pytest.fixture(scope="module")
def maker() -> dict[str, Any]:
    """The names of make_index.py."""
    return runpy.run_path(str(VECTORS / "make_index.py"))


@pytest.fixture(params=GOLDEN, ids=lambda folder: folder.name)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Golden:
    folder = shutil.copytree(request.param, tmp_path / "golden")
    (folder / "owner.key").chmod(0o600)  # as no checkout has it
    return Golden(folder, json.loads((folder / "answers.json").read_text()))


def test_every_format_that_is_read_has_a_golden_index(maker: dict[str, Any], tmp_path: Path) -> None:
    """The newest is what the program makes today; of a new format, make_index.py writes one."""
    assert VECTORS / f"index-{identity._FORMAT}" in GOLDEN
    maker["make"](tmp_path)
    made = json.loads((tmp_path / "answers.json").read_text())
    assert made == json.loads((VECTORS / f"index-{identity._FORMAT}" / "answers.json").read_text())


def test_a_golden_index_is_read_verified_and_searched(golden: Golden, maker: dict[str, Any]) -> None:
    """Every record opens to what was encrypted, and the search finds what it found."""
    report = verify(golden.index)
    assert (report.errors, report.size, report.root.hex()) == (
        (),
        golden.answers["size"],
        golden.answers["root"],
    )
    assert maker["answers"](golden.folder) == golden.answers
    assert len(golden.answers["records"]) == sum(maker["ROWS"]) - 1
    assert golden.answers["hits"][0][:2] == [0, bytes(32).hex()]


def test_a_golden_index_still_proves_what_it_holds(golden: Golden, maker: dict[str, Any]) -> None:
    """Presence, absence and erasure, under the public keys that lie beside it."""
    log = parse_keys((golden.index / "checkpoint.pub").read_text())
    assert open_checkpoint((golden.index / "checkpoint").read_bytes(), log).size == golden.answers["size"]
    reader = open_reader(golden.index, log)
    for proof in (
        reader.prove(256),
        reader.prove_erasure(maker["ERASED"]),
        reader.prove_key((7).to_bytes(32, "big")),
        reader.prove_key(b"\xff" * 32),
    ):
        verify_proof(proof.encode(), log)
    with pytest.raises(ErasedError, match="was erased on 2026-01-01, by entry 262"):
        reader.record(maker["ERASED"])


def test_a_writer_goes_on_from_a_golden_index(golden: Golden, maker: dict[str, Any]) -> None:
    """What it appends comes after what is there, and the log has only grown."""
    before = (golden.index / "checkpoint").read_bytes()
    signing = golden.index / "signing.key"
    signing.write_bytes(identity.encode_keys(maker["signing_keys"]()))
    signing.chmod(0o600)
    with maker["standing_still"]():
        made = maker["new_generation"](maker["LWE32"], None, 14)
    numbers = range(1000, 1003)
    with open_writer(golden.index, IndexOptions(), maker["SEED"]) as writer:
        entries = writer.append(maker["block"](maker["Encryptor"](made.lwe), numbers))
    assert entries.index_N.tolist() == list(range(golden.answers["size"], golden.answers["size"] + 3))
    assert verify(golden.index).errors == ()
    reader = open_reader(golden.index)
    verify_proof(reader.prove_growth(before).encode(), reader.log)
    assert maker["answers"](golden.folder)["records"].items() > golden.answers["records"].items()
