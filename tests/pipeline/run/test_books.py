"""The books of a run: what is durable when, and what a resumed run repeats."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.config import load
from pipeline.engine.accounting import Finished, Rejected, Unit
from pipeline.engine.pump import Admitted
from pipeline.run import books as module
from pipeline.run.books import Books
from pipeline.run.dead_letters import read
from pipeline.run.job import Job
from pipeline.run.ledger import Done, Ledger
from stages.base import Reason, Reject
from stages.batches import Located, Refused
from tests.pipeline.toys import key_of, piece

REFUSED = Refused("broken", key_of(99), Reason.EMPTY, "zero bytes")
CUT = [piece(range(start, start + 4), group=key_of(7), parts=2) for start in (10, 14)]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    results = tmp_path / "results"
    results.mkdir()
    return Job((tmp_path,), tmp_path / "index", results, tmp_path / "keys", load(None, {}), resume=True)


@pytest.fixture
def books(job: Job) -> Iterator[Books]:
    with Books(job, records=0) as books:
        yield books


def reject(unit: Unit, number: int, *, counted: bool = True) -> Rejected:
    (letter,) = unit.reject([Reject(key_of(number), "read", Reason.CORRUPT, "bad")], counted=counted)
    return letter


def unit_of(*pieces: Located) -> Unit:
    unit = Unit(len(pieces))
    for one in pieces:
        unit.add(one)
    return unit


def paths(job: Job) -> list[str]:
    return [letter.path for letter in read(job.results)]


def found(
    books: Books, monkeypatch: pytest.MonkeyPatch, *items: Located | Refused
) -> list[Located | Refused]:
    monkeypatch.setattr(module, "load_site_secret", lambda _: bytes(32))
    monkeypatch.setattr(module, "scan", lambda *_: iter(items))
    return list(books.source())


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


def index_holds(job: Job, monkeypatch: pytest.MonkeyPatch, keys: Container[bytes]) -> None:
    """Let the index be one that holds these keys."""
    job.index.mkdir(exist_ok=True)
    (job.index / "index.json").touch()
    log = SimpleNamespace(find=lambda key: 0 if key in keys else None)
    monkeypatch.setattr("pipeline.run.books.open_reader", lambda _: log)


def test_a_resumed_run_leaves_out_what_is_finished(
    books: Books, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And counts it; refused files are told again."""
    index_holds(job, monkeypatch, {key_of(number) for number in range(3)})
    books.book(Finished((piece(range(4)),), 3, 1, 0.1))
    assert found(books, monkeypatch, piece(range(4)), REFUSED, piece(range(4, 8))) == [
        REFUSED, piece(range(4, 8))
    ]  # fmt: skip
    assert (books.tally.skipped_kept, books.tally.skipped_rejected, books.tally.skipped_inputs) == (3, 1, 4)


def test_a_resumed_run_repeats_what_the_index_has_lost(
    books: Books, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger may be of another index, or of one that was restored from an older copy."""
    books.book(Finished((piece(range(4)),), 4, 0, 0.1))
    assert found(books, monkeypatch, piece(range(4))) == [piece(range(4))]
    index_holds(job, monkeypatch, {key_of(0)})
    assert found(books, monkeypatch, piece(range(4))) == [piece(range(4))]


def test_a_cut_series_that_has_grown_is_repeated_whole(
    books: Books, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first pieces are as they were, but without them the rest would wait for ever."""
    index_holds(job, monkeypatch, {key_of(number) for number in range(100)})
    books.book(Finished(tuple(CUT), 8, 0, 0.1))
    grown = [*CUT[:1], piece(range(14, 19), group=key_of(7), parts=2)]
    assert found(books, monkeypatch, *CUT) == []
    assert found(books, monkeypatch, *grown) == grown


def test_without_resume_everything_is_repeated(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain run asks no ledger."""
    plain = Job(job.sources, job.index, job.results, job.keys, job.settings)
    with Books(plain, records=0) as books:
        books.book(Finished((piece(range(4)),), 4, 0, 0.1))
        assert found(books, monkeypatch, piece(range(4))) == [piece(range(4))]


def test_the_request_is_written_down(books: Books, job: Job) -> None:
    """Enough for a replay: index, keys and the whole configuration."""
    books.book(Admitted(piece(range(4))))
    request = json.loads((job.results / "job.json").read_text())
    assert request["index"] == str(job.index.resolve())
    assert load(None, request["settings"]).flow == job.settings.flow
