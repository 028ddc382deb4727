"""How a run ends, and what signals do to it; the stages are toys."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.engine.pump import Pump
from pipeline.run import books
from pipeline.run import run as module
from pipeline.run.job import Job
from pipeline.run.run import run
from pipeline.run.summary import Tally
from stages.encrypt.keys.folder import new_keys
from tests.pipeline.toys import graph


class Shown:
    """A watcher that keeps the frames of what it was shown."""

    def __init__(self) -> None:
        self.frames: list[int] = []

    def update(self, tally: Tally, _queued: Mapping[str, int]) -> None:
        self.frames.append(tally.frames)


@pytest.mark.parametrize(("every_s", "shown"), [(1e9, [3]), (-1.0, [1, 2, 3])])
def test_a_run_is_shown_whenever_it_is_due_and_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every_s: float, shown: list[int]
) -> None:
    """The last figures are those of the summary, also where the run is over before the display is due."""
    monkeypatch.setattr(books, "_SHOWN_EVERY_S", every_s)
    monkeypatch.setattr(module, "_hops", lambda *_: graph(tmp_path).hops((), {}))
    (tmp_path / "in").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "in" / name).write_bytes(b"no image")
    new_keys(tmp_path / "keys", None)
    settings = load(None, {"run": {"engine": "local", "device": "cpu"}})
    folders = (tmp_path / "index", tmp_path / "results", tmp_path / "keys")
    watcher = Shown()
    assert run(Job((str(tmp_path / "in"),), *folders, settings), watcher).frames == 3
    assert sorted(set(watcher.frames) - {0}) == shown


class Stopping(Pump):
    """A pump of which only the stop is used."""

    def __init__(self) -> None:
        self.stops = 0

    def stop(self) -> None:
        """Count."""
        self.stops += 1


def test_the_first_signal_drains_and_the_second_is_as_without_a_run() -> None:
    """The handlers of before are back after the first, and after the run."""
    pump, others = Stopping(), []
    before = signal.signal(signal.SIGTERM, lambda *_: others.append(True))
    try:
        with module._drained_by_signals(pump):
            assert (pump.stops, others) == (0, [])
            signal.raise_signal(signal.SIGTERM)
            assert (pump.stops, others) == (1, [])
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (pump.stops, others) == (1, [True, True])


def test_a_run_in_another_thread_leaves_signals_alone() -> None:
    """Python lets the main thread alone handle them."""
    handlers = []

    def drained() -> None:
        with module._drained_by_signals(Stopping()):
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=drained)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]
