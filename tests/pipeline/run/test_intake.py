"""What of the sources is still to do, and which source learns that it is done."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.config import load
from pipeline.engine.accounting import Finished
from pipeline.run.intake import Intake, opened
from pipeline.run.job import Job
from pipeline.run.ledger import Done, Ledger
from stages.base import Reason
from stages.batches import Copied, Located, Refused
from stages.ingest.sources.base import Unit
from tests.pipeline.toys import key_of, piece

REFUSED = Refused("broken", key_of(99), Reason.EMPTY, "zero bytes")
CUT = [piece(range(start, start + 4), group=key_of(7), parts=2) for start in (10, 14)]


@dataclass
class Listed:
    """A source of these items that keeps what it hears."""

    items: tuple[Located | Refused | Copied, ...]
    heard: list[Unit] = field(default_factory=list)
    closed: int = 0

    def __iter__(self) -> Iterator[Located | Refused | Copied]:
        return iter(self.items)

    @property
    def scanned(self) -> int:
        return len(self.items)

    def finished(self, unit: Unit) -> None:
        self.heard.append(unit)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def job(tmp_path: Path) -> Job:
    results = tmp_path / "results"
    results.mkdir()
    return Job((str(tmp_path),), tmp_path / "index", results, tmp_path / "keys", load(None, {}), resume=True)


def enter(job: Job, *units: Finished) -> None:
    with Ledger(job.results) as ledger:
        for unit in units:
            ledger.enter(unit)


def left(job: Job, monkeypatch: pytest.MonkeyPatch, *items: Located | Refused) -> list[Located | Refused]:
    monkeypatch.setattr("pipeline.run.intake.load_site_secret", lambda _: bytes(32))
    monkeypatch.setattr("pipeline.run.intake.open_sources", lambda *_: [Listed(items)])
    with opened(job) as intake:
        (stream,) = intake.streams()
        return list(stream)


def index_holds(job: Job, monkeypatch: pytest.MonkeyPatch, keys: Container[bytes]) -> None:
    """Let the index be one that holds these keys."""
    job.index.mkdir(exist_ok=True)
    (job.index / "index.json").touch()
    log = SimpleNamespace(find=lambda key: 0 if key in keys else None)
    monkeypatch.setattr("pipeline.run.intake.open_reader", lambda _: log)


def test_a_resumed_run_leaves_out_what_is_finished(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused files come again."""
    index_holds(job, monkeypatch, {key_of(number) for number in range(3)})
    enter(job, Finished((piece(range(4)),), 3, 1, 0.1))
    found = left(job, monkeypatch, piece(range(4)), REFUSED, piece(range(4, 8)))
    assert found == [REFUSED, piece(range(4, 8))]


def test_a_resumed_run_repeats_what_the_index_has_lost(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger may be of another index, or of one that was restored from an older copy."""
    enter(job, Finished((piece(range(4)),), 4, 0, 0.1))
    assert left(job, monkeypatch, piece(range(4))) == [piece(range(4))]
    index_holds(job, monkeypatch, {key_of(0)})
    assert left(job, monkeypatch, piece(range(4))) == [piece(range(4))]


def test_a_cut_series_that_has_grown_is_repeated_whole(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first pieces are as they were, but without them the rest would wait for ever."""
    index_holds(job, monkeypatch, {key_of(number) for number in range(100)})
    enter(job, Finished(tuple(CUT), 8, 0, 0.1))
    grown = [*CUT[:1], piece(range(14, 19), group=key_of(7), parts=2)]
    assert left(job, monkeypatch, *CUT) == []
    assert left(job, monkeypatch, *grown) == grown


def test_without_resume_everything_is_repeated(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain run asks no ledger."""
    index_holds(job, monkeypatch, {key_of(number) for number in range(4)})
    enter(job, Finished((piece(range(4)),), 4, 0, 0.1))
    plain = Job(job.sources, job.index, job.results, job.keys, job.settings)
    assert left(plain, monkeypatch, piece(range(4))) == [piece(range(4))]


def test_each_source_hears_of_its_own_units() -> None:
    """Equal units of two sources are told apart; a cut series is one unit; a refused file is one too."""
    first, second = Listed((piece(range(4)), REFUSED)), Listed((piece(range(4)), *CUT))
    intake = Intake([first, second])
    streams = [list(stream) for stream in intake.streams()]
    intake.finished((streams[1][0],))  # type: ignore[arg-type]  # it is no refused file
    assert (first.heard, len(second.heard)) == ([], 1)
    intake.finished(tuple(streams[1][1:]))  # type: ignore[arg-type]  # neither are these
    intake.finished(streams[0][1])  # type: ignore[arg-type]  # this one is
    assert second.heard == [(piece(range(4)),), tuple(CUT)]
    assert first.heard == [REFUSED]


def test_a_source_hears_of_what_an_earlier_run_finished() -> None:
    """Else a spool would keep it for ever; it is counted and not streamed again."""
    source = Listed((piece(range(4)), piece(range(4, 8))))
    intake = Intake([source], lambda pieces: Done(3, 1) if pieces[0].keys[0] == key_of(0) else None)
    (stream,) = intake.streams()
    assert list(stream) == [piece(range(4, 8))]
    assert source.heard == [(piece(range(4)),)]
    assert (intake.skipped.inputs, intake.skipped.kept, intake.skipped.rejected) == (4, 3, 1)


def test_copies_pass_and_files_are_counted() -> None:
    """A copy is nobody's work: no source is told of it."""
    source = Listed((Copied("a", 2), piece(range(4))))
    intake = Intake([source, Listed((REFUSED,))], lambda _: Done(4, 0))
    assert [list(stream) for stream in intake.streams()] == [[Copied("a", 2)], [REFUSED]]
    assert source.heard == [(piece(range(4)),)]
    assert intake.scanned == 3


def test_every_source_is_closed_once(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the run fails."""
    sources = [Listed(()), Listed(())]
    monkeypatch.setattr("pipeline.run.intake.load_site_secret", lambda _: bytes(32))
    monkeypatch.setattr("pipeline.run.intake.open_sources", lambda *_: sources)
    with pytest.raises(ZeroDivisionError), opened(job):
        raise ZeroDivisionError
    assert [source.closed for source in sources] == [1, 1]


def test_a_source_that_cannot_be_closed_keeps_no_other_open() -> None:
    """Its failure is raised when all others are closed."""

    class Stuck(Listed):
        def close(self) -> None:
            raise OSError("the spool is gone")

    before, after = Listed(()), Listed(())
    with pytest.raises(OSError, match="the spool is gone"):
        Intake([before, Stuck(()), after]).close()
    assert (before.closed, after.closed) == (1, 1)
