"""What the demo streams, without the run itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli import demo
from pipeline.config import Settings
from pipeline.run.job import Job
from pipeline.run.summary import Summary


class AskedError(Exception):
    """The run would begin."""


def test_the_demo_streams_the_study_that_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside pydicom's own images, with keys that were made for it, all of it in the folder it was given."""
    monkeypatch.setattr(demo, "_PATIENTS", 2)
    monkeypatch.setattr(demo, "_SLICES", 3)
    jobs: list[Job] = []

    def stream(job: Job) -> Summary:
        jobs.append(job)
        raise AskedError

    with pytest.raises(AskedError):
        demo.run(tmp_path / "demo", Settings(), stream, as_json=False)
    (job,) = jobs
    study, bundled = map(Path, job.sources)
    assert len(list(study.rglob("*.dcm"))) == 6
    assert (bundled / "CT_small.dcm").is_file()
    assert (job.keys / "owner" / "owner.key").is_file()
    assert {study.parent, job.keys.parent, job.index.parent, job.results.parent} == {tmp_path / "demo"}
