"""The verifier alone: one file, for which Python and one package are enough."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from stages.index import verifier
from stages.index.verifier import LogKey, parse_keys, verify_proof
from tests.stages.index.log.proofs import ALL, GOOD, LOG


def test_the_verifier_is_one_file_that_runs_by_itself(tmp_path: Path) -> None:
    """Copied to an empty folder, without this project, it tells each kind of proof and refuses others."""
    program = shutil.copy(verifier.__file__, tmp_path / "verifier.py")
    (tmp_path / "log.pub").write_text("".join(f"{key.vkey}\n" for key in LOG))

    def check(data: bytes, keys: str = "log.pub") -> tuple[int, dict[str, object]]:
        (tmp_path / "file").write_bytes(data)
        done = subprocess.run(
            [sys.executable, "-I", "-W", "ignore", program, "file", "--key", keys],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, json.loads(done.stdout or "{}")

    claims = [check(data) for data in ALL]
    assert [code for code, _ in claims] == [0] * len(ALL)
    said = [facts["claim"] for _, facts in claims]
    assert said == ["inclusion", "growth", "presence", "absence", "erasure"]
    assert claims[0][1] == {"ok": True, **verify_proof(GOOD, LOG).facts()}
    assert check(GOOD[:-1])[0] == 1
    assert check(GOOD, "file") == (2, {})


def test_the_verifier_needs_nothing_but_cryptography() -> None:
    """Importing it loads no other module of ours, no NumPy, no Arrow, no SQLite."""
    code = """
import sys
import stages.index.verifier
names = set(sys.modules)
print(sorted(name for name in names if name.startswith("stages")))
print(sorted(names & {"numpy", "pyarrow", "pydantic", "sqlite3", "torch"}))
"""
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    ours = ["stages", "stages.index", "stages.index.verifier"]
    assert done.stdout.splitlines() == [repr(ours), "[]"]


def test_a_public_key_file_says_which_signatures_are_demanded() -> None:
    """All that it lists."""
    text = "".join(f"{key.vkey}\n" for key in LOG)
    assert parse_keys(text) == LOG
    assert all(isinstance(key, LogKey) for key in parse_keys(text))
    assert verify_proof(GOOD, parse_keys(LOG[1].vkey)).index == 6
