"""What ``medsecure dead-letters replay`` says of its run; the run itself is in test_run.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import Settings
from pipeline.run.job import Job
from pipeline.run.summary import Tally
from tests.pipeline.cli.conftest import Medsecure


def test_a_replay_ends_with_its_summary(
    medsecure: Medsecure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For people, or as one document; with the exit code of a run."""
    job = Job((), tmp_path / "index", tmp_path / "results", tmp_path / "keys", Settings())
    found = Tally(frames=4, kept=3, rejected=1).summary(3, {"size": 3}, complete=True)
    monkeypatch.setattr("pipeline.run.replay.replayed", lambda _: job)
    monkeypatch.setattr("pipeline.cli.run.stream", lambda _: found)
    assert medsecure("dead-letters", "replay", tmp_path, "--json", expect=1).json["frames"] == 4
    assert "4 frames of 0 files" in medsecure("dead-letters", "replay", tmp_path, expect=1).out
