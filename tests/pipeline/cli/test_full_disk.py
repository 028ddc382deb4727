"""A run whose disk fills up: how it ends, and what a resumed run makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.index.reader import open_reader
from tests.conftest import SmallDisk
from tests.pipeline.cli.conftest import Medsecure
from tests.situations.maker import Study, thresholded


def results_of(folder: Path) -> dict[str, bytes]:
    """What was delivered."""
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*/*") if path.is_file()
    }


def test_a_run_whose_results_fill_the_disk_is_resumed_once_there_is_room(
    medsecure: Medsecure, keys: Path, small_disk: SmallDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with a sentence that names the file; then all is as if the disk had been large all along."""
    monkeypatch.setattr("pipeline.run.run.stream", thresholded)
    monkeypatch.setenv("MEDSECURE__FLOW__HOPS", "[]")
    for name in "ab":
        Study(tmp_path / "in", name).volume()
    run = ["run", "--engine", "local", "--source", tmp_path / "in", "--keys", keys]
    small = [*run, "--index", tmp_path / "index", "--results", small_disk.path / "results"]
    small_disk.fill_up(left=180_000)  # for the books, and less than a delivery takes
    failed = medsecure(*small, expect=3)
    assert "error: deliver: OSError: [Errno 28] No space left on device: '" in failed.err
    assert str(small_disk.path / "results") in failed.err
    assert "Traceback" not in failed.err
    assert not list((small_disk.path / "results" / ".incoming").iterdir())
    small_disk.make_room()
    summary = medsecure(*small, "--resume", "--json").json
    assert (summary["frames"], summary["rejected"], summary["undelivered"]) == (38, 0, 0)
    medsecure(*run, "--index", tmp_path / "other", "--results", tmp_path / "large")
    assert results_of(small_disk.path / "results") == results_of(tmp_path / "large")
    assert set(open_reader(tmp_path / "index").keys()) == set(open_reader(tmp_path / "other").keys())
