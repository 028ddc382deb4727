"""Locks and requests to stop, in this process; priorities are tested on the queue's."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from training.background import QueueBusyError, Stop, Stopped, alone, stop, worker


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """Handlers as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_folder_is_held_by_one(tmp_path: Path) -> None:
    """The second is refused, the holder is known, and with the first the hold ends."""
    folder = tmp_path / "cache"
    assert worker(folder) is None
    with alone(folder):
        assert worker(folder) == os.getpid()
        with pytest.raises(QueueBusyError, match="stop it first"), alone(folder):
            pass
    assert worker(folder) is None
    with alone(folder):
        pass


def test_nobody_is_asked_to_stop_where_nobody_works(tmp_path: Path) -> None:
    """A number left in the lock by an earlier process is not believed."""
    with alone(tmp_path):
        pass
    assert (tmp_path / "lock").read_text() == str(os.getpid())
    assert stop(tmp_path, 1) is None


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_request_waits_for_the_step_but_not_for_repeated_work(number: signal.Signals) -> None:
    """Outside it is only noted; inside it ends the work, and work begun after it does not start."""
    asked = Stop()
    asked.listen()
    with pytest.raises(Stopped), asked.at_once():
        signal.raise_signal(number)
    later = Stop()
    later.listen()
    signal.raise_signal(number)
    assert later.asked
    with pytest.raises(Stopped), later.at_once():
        pytest.fail("begins")
