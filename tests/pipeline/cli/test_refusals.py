"""What a run refuses, and what it shows as it is."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
import torch

from stages.encrypt.keys.folder import new_keys
from tests.pipeline.cli.conftest import Medsecure, Study, folders


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--source", "nowhere"], "there is no source nowhere"),
        (["--keys", "nowhere"], "nowhere"),
        (["--config", "nowhere.toml"], "nowhere.toml"),
        pytest.param(
            ["--device", "cuda"],
            "there is no CUDA device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
        (["--index", "/proc/index"], "cannot write to /proc/index"),
    ],
)
def test_what_cannot_start_ends_at_once(
    study: Study, keys: Path, medsecure: Medsecure, tmp_path: Path, change: list[str], sentence: str
) -> None:
    """Exit code 2 and one sentence, before anything is made."""
    base = {"--source": study.folder, "--keys": keys, "--index": tmp_path / "i", "--results": tmp_path / "r"}
    base = {**base, "--engine": "local", change[0]: change[1]}
    done = medsecure("run", *(word for pair in base.items() for word in pair), expect=2)
    assert sentence in done.err
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) <= 8


def test_folders_never_lie_in_one_another(
    study: Study, keys: Path, medsecure: Medsecure, tmp_path: Path
) -> None:
    """The index may be given away, so nothing of the clinic may get into it."""
    base = ["run", "--engine", "local", "--source", study.folder, "--keys", keys]
    for index, results in (("x", "x/results"), ("x/index", "x"), ("x", "x")):
        done = medsecure(*base, "--index", tmp_path / index, "--results", tmp_path / results, expect=2)
        assert "lies inside" in done.err


def test_other_keys_are_refused_for_an_index(
    study: Study, medsecure: Medsecure, streamed: Path, tmp_path: Path
) -> None:
    """They would index every image again under other pseudonyms."""
    new_keys(tmp_path / "other", None)
    base = ["run", "--engine", "local", "--source", study.folder, "--keys", tmp_path / "other"]
    done = medsecure(*base, "--index", streamed / "index", "--results", tmp_path / "r", expect=2)
    assert "the index holds records of key" in done.err


def test_a_busy_index_is_refused_at_once(
    study: Study, keys: Path, medsecure: Medsecure, streamed: Path, tmp_path: Path
) -> None:
    """A second writer is told before anything starts."""
    with (streamed / "index" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        base = ["run", "--engine", "local", "--source", study.folder, "--keys", keys]
        done = medsecure(*base, "--index", streamed / "index", "--results", tmp_path / "r", expect=2)
    assert "another writer holds" in done.err


@pytest.mark.slow
def test_names_with_brackets_are_shown_as_they_are(keys: Path, medsecure: Medsecure, tmp_path: Path) -> None:
    """A file name is never read as markup."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a[bold]b[").write_bytes(b"no image")
    results = tmp_path / "r[/]"
    base = ["run", "--engine", "local", "--source", tmp_path / "in", "--keys", keys, "--results", results]
    assert "r[/]" in medsecure(*base, "--index", tmp_path / "i", expect=2).out
    assert "a[bold]b[" in medsecure("dead-letters", "list", results).out


def test_damaged_books_are_exit_code_2(
    study: Study, keys: Path, medsecure: Medsecure, tmp_path: Path
) -> None:
    """One sentence names the file."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "ledger.sqlite").write_bytes(b"garbage " * 200)
    base = ["run", "--engine", "local", "--source", study.folder, "--keys", keys]
    done = medsecure(*base, *folders(tmp_path), expect=2)
    assert "ledger.sqlite is damaged" in done.err
    assert "Traceback" not in done.err
