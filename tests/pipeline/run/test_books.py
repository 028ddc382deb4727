"""The books of a run: what is durable when."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.engine.accounting import Account, Finished, Rejected
from pipeline.engine.pump import Admitted
from pipeline.run.books import Books
from pipeline.run.dead_letters import DeadLetters, read
from pipeline.run.job import Job
from pipeline.run.ledger import Done, Ledger
from stages.base import Reason, Reject
from stages.batches import Located, Refused
from tests.pipeline.toys import key_of, piece

REFUSED = Refused("broken", key_of(99), Reason.EMPTY, "zero bytes")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    results = tmp_path / "results"
    results.mkdir()
    return Job((str(tmp_path),), tmp_path / "index", results, tmp_path / "keys", load(None, {}), resume=True)


@pytest.fixture
def books(job: Job) -> Iterator[Books]:
    with Books(job, records=0) as books:
        yield books


def reject(unit: Account, number: int, *, counted: bool = True) -> Rejected:
    (letter,) = unit.reject([Reject(key_of(number), "read", Reason.CORRUPT, "bad")], counted=counted)
    return letter


def unit_of(*pieces: Located) -> Account:
    unit = Account(len(pieces), int.from_bytes(pieces[0].keys[0], "big"))
    for one in pieces:
        unit.add(one)
    return unit


def paths(job: Job) -> list[str]:
    return [letter.path for letter in read(job.results)]


def test_letters_of_units_that_interleave_are_all_kept(books: Books, job: Job) -> None:
    """A unit that finishes takes its own letters with it and leaves the others'."""
    first, second = unit_of(piece(range(4))), unit_of(piece(range(4, 8)))
    books.book(reject(first, 1))
    books.book(reject(second, 5))
    books.book(second.close())
    assert paths(job) == ["file-5"]
    books.book(first.close())
    assert paths(job) == ["file-1", "file-5"]


def test_letters_are_durable_before_the_ledger_knows(books: Books, job: Job) -> None:
    """A unit in the ledger is never repeated, so its letters must be there."""
    unit = unit_of(piece(range(4)))
    books.book(reject(unit, 1))
    with Ledger(job.results) as ledger:
        assert ledger.find(unit.pieces) is None
        books.book(unit.close())
        assert ledger.find(unit.pieces) == Done(kept=0, rejected=1)
    assert paths(job) == ["file-1"]


def test_the_ledger_does_not_know_a_unit_whose_letters_are_lost(
    books: Books, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a resumed run would leave the unit out, and nobody would ever see its letters."""

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(DeadLetters, "settle", full)
    unit = unit_of(piece(range(4)))
    with pytest.raises(sqlite3.OperationalError, match="disk is full"):
        books.book(unit.close())
    with Ledger(job.results) as ledger:
        assert ledger.find(unit.pieces) is None


def test_a_recovered_row_has_no_letter_any_more(books: Books, job: Job) -> None:
    """A unit that was repeated without a reject settles what the earlier run had to say."""
    unit = unit_of(piece(range(4)))
    books.book(reject(unit, 1))
    books.book(unit.close())
    books.book(Finished((piece(range(4)),), 4, 0, 0.1))
    assert paths(job) == []


def test_letters_of_an_interrupted_run_are_kept(job: Job) -> None:
    """What was told of units that never finished, and of files that could not be opened."""
    with Books(job, records=0) as books:
        books.book(REFUSED)
        books.book(reject(unit_of(piece(range(4))), 2, counted=False))
    assert [(letter.path, letter.stage, letter.counted) for letter in read(job.results)] == [
        ("broken", "scan", True), ("file-2", "read", False)
    ]  # fmt: skip


def test_refused_files_do_not_wait_for_the_end(books: Books, job: Job) -> None:
    """Their letters are written with those of the next unit."""
    books.book(REFUSED)
    books.book(Finished((piece(range(4)),), 4, 0, 0.1))
    assert paths(job) == ["broken"]


def test_the_request_is_written_down(books: Books, job: Job) -> None:
    """Enough for a replay: index, keys and the whole configuration."""
    books.book(Admitted(piece(range(4))))
    request = json.loads((job.results / "job.json").read_text())
    assert request["index"] == str(job.index.resolve())
    assert load(None, request["settings"]).flow == job.settings.flow


def test_a_unit_is_acknowledged_when_its_letters_and_its_entry_are_durable(books: Books, job: Job) -> None:
    """What ``book`` returns may be forgotten by its source; refused files wait for company."""
    unit = unit_of(piece(range(4)))
    assert books.book(REFUSED) == []
    assert books.book(reject(unit, 1)) == []
    assert books.book(unit.close()) == [REFUSED, tuple(unit.pieces)]
    assert paths(job) == ["broken", "file-1"]
    assert books.flush() == []


def test_many_refused_files_are_acknowledged_before_the_end(books: Books, job: Job) -> None:
    """Their letters are written together, none of them twice or never."""
    refused = [Refused(f"broken-{number:03}", key_of(number), Reason.EMPTY, "x") for number in range(300)]
    acknowledged = [unit for one in refused for unit in books.book(one)]
    assert 0 < len(acknowledged) < 300
    assert len(paths(job)) == len(acknowledged)
    assert [*acknowledged, *books.flush()] == refused
    assert paths(job) == [one.path for one in refused]
