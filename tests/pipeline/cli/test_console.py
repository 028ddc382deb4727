"""What a person reads during and after a run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipeline.cli.console import Terminal, show_summary
from pipeline.run.summary import Tally
from stages.base import Reason
from stages.batches import Refused


def test_progress_is_a_line_every_five_seconds_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log file is not flooded, and a run that hangs is seen to."""
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    written = []
    with Terminal() as terminal:
        for now_s in (101.0, 104.9, 105.0, 109.0, 110.0):
            terminal.update(Tally(scanned=int(now_s)), {})
            written.append(capsys.readouterr().err)
    assert [line.split(" · ")[1:2] for line in written] == [
        [], [], ["105 files scanned"], [], ["110 files scanned"]
    ]  # fmt: skip


def test_folders_with_brackets_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Both where the rejects are listed and where the results lie."""
    tally = Tally()
    tally.observe(Refused("empty.dcm", b"k", Reason.EMPTY, "zero bytes"))
    summary = tally.summary(0, {"size": 0}, complete=True)
    show_summary(summary, Path("results[bold]"), Path("index[/]"))
    shown = capsys.readouterr().out
    assert "See: medsecure dead-letters list results[bold]\n" in shown
    assert "Results in results[bold], index in index[/] (0 records)\n" in shown
