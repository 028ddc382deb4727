from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from pipeline.config import Settings
from pipeline.engine.pump import Admitted
from pipeline.run.books import Books
from pipeline.run.dead_letters import DeadLetters, Letter
from pipeline.run.job import Job, JobError
from pipeline.run.replay import replayed
from tests.pipeline.toys import piece


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A run over a folder of three slices and a file beside it."""
    (tmp_path / "series" / "below").mkdir(parents=True)
    (tmp_path / "results").mkdir()
    for name in ("series/a", "series/b", "series/c", "alone", "stranger"):
        (tmp_path / name).touch()
    sources = (str(tmp_path / "series"), str(tmp_path / "alone"))
    return Job(sources, tmp_path / "index", tmp_path / "results", tmp_path / "keys", Settings())


def ran(job: Job, *rejected: str) -> None:
    """The run is over, and these files were rejected."""
    with Books(job, records=0) as books:
        books.book(Admitted(piece(range(4))))
    with DeadLetters(job.results) as letters:
        paths = [str(job.results.parent / name) for name in rejected]
        made = partial(Letter, frame=0, key="0" * 64, stage="ingest", reason="corrupt", detail="x")
        letters.add(made(path, counted=True, time_s=1.0) for path in paths)


def named(job: Job) -> list[str]:
    return [Path(source).name for source in job.sources]


def test_a_slice_is_read_again_with_its_series_and_a_file_that_was_named_alone(job: Job) -> None:
    """Only what stands beside it: nothing of another folder, and no folder."""
    ran(job, "series/b")
    assert named(replayed(job.results)) == ["a", "b", "c"]
    ran(job, "alone")
    assert named(replayed(job.results)) == ["alone", "a", "b", "c"]


def test_a_replay_asks_for_what_the_run_asked_for(job: Job) -> None:
    """The same index, keys, results and configuration, and it says that it is one."""
    ran(job, "alone")
    again = replayed(job.results)
    assert (again.index, again.keys, again.results) == (job.index, job.keys, job.results)
    assert (again.settings.flow, again.replay, again.resume) == (job.settings.flow, True, False)


def test_nothing_to_repeat_is_said_with_its_reason(job: Job) -> None:
    """No letters, or letters of files that have gone."""
    ran(job)
    with pytest.raises(JobError, match=r"can be run again: it has no dead letters$"):
        replayed(job.results)
    ran(job, "series/a")
    (job.results.parent / "series" / "a").unlink()
    with pytest.raises(JobError, match=r"none of its rejected files is there any more$"):
        replayed(job.results)


def test_a_file_that_has_gone_keeps_its_letter_and_the_others_are_repeated(job: Job) -> None:
    """It may come back."""
    ran(job, "series/a", "alone")
    (job.results.parent / "series" / "a").unlink()
    assert named(replayed(job.results)) == ["alone"]


@pytest.mark.parametrize("damage", ["gone", "half", "empty"])
def test_a_folder_that_does_not_say_how_it_was_run_is_named(job: Job, damage: str) -> None:
    """Its request is a file that the operator can look at."""
    ran(job, "alone")
    request = job.results / "job.json"
    if damage == "gone":
        request.unlink()
    else:
        request.write_text(json.dumps({}) if damage == "empty" else request.read_text()[:-9])
    with pytest.raises(JobError, match=r"job\.json does not say"):
        replayed(job.results)
