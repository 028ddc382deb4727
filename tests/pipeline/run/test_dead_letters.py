from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.engine.accounting import Finished
from pipeline.run.dead_letters import DeadLetters, Letter, NoDeadLettersError, read
from tests.pipeline.toys import piece


def letter(number: int, reason: str = "corrupt", frame: int = 0) -> Letter:
    return Letter(f"file-{number}", frame, f"{number:064x}", "ingest", reason, "the header lies",
                  counted=True, time_s=1.5)  # fmt: skip


def finished(*numbers: int) -> Finished:
    return Finished((piece(numbers),), 0, len(numbers), 0.5)


def test_letters_outlive_the_process(tmp_path: Path) -> None:
    """What was added is read back, field by field, by file and frame."""
    uncounted = replace(letter(1), counted=False)
    with DeadLetters(tmp_path) as store:
        store.add([letter(2, frame=1), letter(2), uncounted])
    assert read(tmp_path) == [uncounted, letter(2), letter(2, frame=1)]


def test_letters_survive_a_kill(tmp_path: Path) -> None:
    """They are kept when add returns, not when the store is closed."""
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from pipeline.run.dead_letters import DeadLetters, Letter\n"
        "DeadLetters(Path(sys.argv[1])).add([Letter('f', 0, '00', 's', 'corrupt', '', True, 0.0)])\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [one.path for one in read(tmp_path)] == ["f"]


def test_letters_survive_a_power_cut(tmp_path: Path) -> None:
    """SQLite syncs the log at every commit: 2 is FULL, https://sqlite.org/pragma.html#pragma_synchronous."""
    with DeadLetters(tmp_path) as store:
        assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_row_has_one_letter_the_newest(tmp_path: Path) -> None:
    """Repeating a run does not repeat its letters."""
    with DeadLetters(tmp_path) as store:
        store.add([letter(1, "truncated")])
        store.add([letter(1, "corrupt")])
        assert read(tmp_path) == [letter(1, "corrupt")]


def test_settling_forgets_recovered_rows(tmp_path: Path) -> None:
    """What an earlier run said of a unit's rows is gone; what it said of others stays."""
    with DeadLetters(tmp_path) as store:
        store.add([letter(1), letter(2), letter(3)])
        store.settle(finished(1, 2), [letter(2, "truncated")])
    assert read(tmp_path) == [letter(2, "truncated"), letter(3)]


def test_settling_is_one_step(tmp_path: Path) -> None:
    """If the new letters cannot be written the old ones are still there."""

    def broken() -> Iterator[Letter]:
        yield letter(1, "truncated")
        raise OSError("disk full")

    with DeadLetters(tmp_path) as store:
        store.add([letter(1)])
        with pytest.raises(OSError, match="disk full"):
            store.settle(finished(1), broken())
    assert read(tmp_path) == [letter(1)]


def test_a_reader_does_not_disturb_the_run(tmp_path: Path) -> None:
    """`dead-letters list` while a run adds, and while it holds the write lock."""
    with DeadLetters(tmp_path) as store:
        store.add([letter(1)])
        with closing(sqlite3.connect(tmp_path / "dead-letters.sqlite")) as other:
            other.execute("BEGIN IMMEDIATE")
            assert read(tmp_path) == [letter(1)]
        store.add([letter(2)])
        assert len(read(tmp_path)) == 2


def test_a_name_that_is_not_utf_8_is_kept(tmp_path: Path) -> None:
    """File names are bytes; one from an old archive does not end the run."""
    odd = os.fsdecode(b"caf\xe9.dcm")
    with DeadLetters(tmp_path) as store:
        store.add([replace(letter(1), path=odd)])
        assert [one.path for one in read(tmp_path)] == [odd]


def test_a_letter_is_plain_json(tmp_path: Path) -> None:
    """What the command prints is the letter, with its record id under both names."""
    with DeadLetters(tmp_path) as store:
        store.add([letter(1)])
    (found,) = read(tmp_path)
    printed = json.loads(json.dumps(found.as_json()))
    assert printed.pop("record_id") == printed["key"]
    assert Letter(**printed) == letter(1)


def test_a_folder_of_no_run_has_no_dead_letters(tmp_path: Path) -> None:
    """It is named, and reading makes no store in it."""
    with pytest.raises(NoDeadLettersError, match=f"{tmp_path} is not the results folder of a run"):
        read(tmp_path)
    assert list(tmp_path.iterdir()) == []
