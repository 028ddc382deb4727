"""The books of a run: what is durable when, and what a resumed run repeats."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Container, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import desk as module
from pipeline.config import load
from pipeline.dead_letters import DeadLetters, read
from pipeline.desk import Desk, Job
from pipeline.engine import Admitted
from pipeline.ledger import Done, Ledger
from pipeline.units import Finished, Rejected, Unit
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
def desk(job: Job) -> Iterator[Desk]:
    with Desk(job, records=0) as desk:
        yield desk


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


def found(desk: Desk, monkeypatch: pytest.MonkeyPatch, *items: Located | Refused) -> list[Located | Refused]:
    monkeypatch.setattr(module, "load_site_secret", lambda _: bytes(32))
    monkeypatch.setattr(module, "scan", lambda *_: iter(items))
    return list(desk.source())


def test_letters_of_units_that_interleave_are_all_kept(desk: Desk, job: Job) -> None:
    """A unit that finishes takes its own letters with it and leaves the others'."""
    first, second = unit_of(piece(range(4))), unit_of(piece(range(4, 8)))
    desk.book(reject(first, 1))
    desk.book(reject(second, 5))
    desk.book(second.close())
    assert paths(job) == ["file-5"]
    desk.book(first.close())
    assert paths(job) == ["file-1", "file-5"]


def test_letters_are_durable_before_the_ledger_knows(desk: Desk, job: Job) -> None:
    """A unit in the ledger is never repeated, so its letters must be there."""
    unit = unit_of(piece(range(4)))
    desk.book(reject(unit, 1))
    with Ledger(job.results) as ledger:
        assert ledger.find(unit.pieces) is None
        desk.book(unit.close())
        assert ledger.find(unit.pieces) == Done(kept=0, rejected=1)
    assert paths(job) == ["file-1"]


def test_the_ledger_does_not_know_a_unit_whose_letters_are_lost(
    desk: Desk, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a resumed run would leave the unit out, and nobody would ever see its letters."""

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(DeadLetters, "settle", full)
    unit = unit_of(piece(range(4)))
    with pytest.raises(sqlite3.OperationalError, match="disk is full"):
        desk.book(unit.close())
    with Ledger(job.results) as ledger:
        assert ledger.find(unit.pieces) is None


def test_a_recovered_row_has_no_letter_any_more(desk: Desk, job: Job) -> None:
    """A unit that was repeated without a reject settles what the earlier run had to say."""
    unit = unit_of(piece(range(4)))
    desk.book(reject(unit, 1))
    desk.book(unit.close())
    desk.book(Finished((piece(range(4)),), 4, 0, 0.1))
    assert paths(job) == []


def test_letters_of_an_interrupted_run_are_kept(job: Job) -> None:
    """What was told of units that never finished, and of files that could not be opened."""
    with Desk(job, records=0) as desk:
        desk.book(REFUSED)
        desk.book(reject(unit_of(piece(range(4))), 2, counted=False))
    assert [(letter.path, letter.stage, letter.counted) for letter in read(job.results)] == [
        ("broken", "scan", True), ("file-2", "read", False)
    ]  # fmt: skip


def test_refused_files_do_not_wait_for_the_end(desk: Desk, job: Job) -> None:
    """Their letters are written with those of the next unit."""
    desk.book(REFUSED)
    desk.book(Finished((piece(range(4)),), 4, 0, 0.1))
    assert paths(job) == ["broken"]


def test_every_refused_file_has_its_letter(job: Job) -> None:
    """However many come without a unit between them: they are not all kept in memory, and none is lost."""
    with Desk(job, records=0) as desk:
        for number in range(300):
            desk.book(replace(REFUSED, path=f"broken-{number:03}"))
        written = paths(job)
    assert 0 < len(written) < 300
    assert paths(job) == [f"broken-{number:03}" for number in range(300)]


def index_holds(job: Job, monkeypatch: pytest.MonkeyPatch, keys: Container[bytes]) -> None:
    """Let the index be one that holds these keys."""
    job.index.mkdir(exist_ok=True)
    (job.index / "index.json").touch()
    log = SimpleNamespace(find=lambda key: 0 if key in keys else None)
    monkeypatch.setattr("pipeline.desk.open_reader", lambda _: log)


def test_a_resumed_run_leaves_out_what_is_finished(
    desk: Desk, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And counts it; refused files are told again."""
    index_holds(job, monkeypatch, {key_of(number) for number in range(3)})
    desk.book(Finished((piece(range(4)),), 3, 1, 0.1))
    assert found(desk, monkeypatch, piece(range(4)), REFUSED, piece(range(4, 8))) == [
        REFUSED, piece(range(4, 8))
    ]  # fmt: skip
    assert (desk.tally.skipped_kept, desk.tally.skipped_rejected, desk.tally.skipped_inputs) == (3, 1, 4)


def test_a_resumed_run_repeats_what_the_index_has_lost(
    desk: Desk, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger may be of another index, or of one that was restored from an older copy."""
    desk.book(Finished((piece(range(4)),), 4, 0, 0.1))
    assert found(desk, monkeypatch, piece(range(4))) == [piece(range(4))]
    index_holds(job, monkeypatch, {key_of(0)})
    assert found(desk, monkeypatch, piece(range(4))) == [piece(range(4))]


def test_a_cut_series_that_has_grown_is_repeated_whole(
    desk: Desk, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first pieces are as they were, but without them the rest would wait for ever."""
    index_holds(job, monkeypatch, {key_of(number) for number in range(100)})
    desk.book(Finished(tuple(CUT), 8, 0, 0.1))
    grown = [*CUT[:1], piece(range(14, 19), group=key_of(7), parts=2)]
    assert found(desk, monkeypatch, *CUT) == []
    assert found(desk, monkeypatch, *grown) == grown


def test_without_resume_everything_is_repeated(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain run asks no ledger."""
    plain = Job(job.sources, job.index, job.results, job.keys, job.settings)
    with Desk(plain, records=0) as desk:
        desk.book(Finished((piece(range(4)),), 4, 0, 0.1))
        assert found(desk, monkeypatch, piece(range(4))) == [piece(range(4))]


def test_the_request_is_written_down(desk: Desk, job: Job) -> None:
    """Enough for a replay: index, keys and the whole configuration."""
    desk.book(Admitted(piece(range(4))))
    request = json.loads((job.results / "job.json").read_text())
    assert request["index"] == str(job.index.resolve())
    assert load(None, request["settings"]).flow == job.settings.flow
