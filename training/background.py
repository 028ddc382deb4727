"""Work in the background: behind everything else on the machine, one at a time, and stopped when asked.

Lowest priority is SCHED_IDLE (sched(7)): a core runs it only while no other process needs the core. Linux may
share cores between sessions before it considers tasks (autogroups, sched(7)); a process that leads a session
of its own (setsid(1)) lowers that session's weight too. A signal requests a stop: a step runs to its end
first, work that the next start repeats as a whole stops at once.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from stages.errors import OperatorError

LOCK = "lock"  # held by the process that works; its content is the process's number
WEAKEST = 19  # of nice(1) and of an autogroup
POLL_S = 0.2


class Stopped(BaseException):  # BaseException, as KeyboardInterrupt is: no handler of errors catches it
    """A stop of the work was requested."""


class QueueBusyError(OperatorError):
    """Another process works on this folder; one sentence."""


def to_background() -> str:
    """Give every thread of this process the lowest priority; returns the name of that priority."""
    if os.getsid(0) == os.getpid():  # else other processes share the session and would slow down too
        _weigh_session(os.getpid(), WEAKEST)
    try:
        _set_policy(os.getpid(), os.SCHED_IDLE)
    except (AttributeError, OSError):  # not Linux, or not allowed
        os.nice(WEAKEST)
        return f"nice {WEAKEST}"
    return "SCHED_IDLE"


def to_foreground(pid: int) -> None:
    """Try to give another process a usual priority, so that it finishes on a busy machine too."""
    try:
        _set_policy(pid, os.SCHED_OTHER)
        if os.getsid(pid) == pid:
            _weigh_session(pid, 0)
    except (AttributeError, OSError):  # not Linux, not allowed, or gone
        return


def _weigh_session(pid: int, niceness: int) -> None:
    group = Path(f"/proc/{pid}/autogroup")
    if group.exists():
        group.write_text(str(niceness))


def _set_policy(pid: int, policy: int) -> None:
    """Sets the policy of all present threads of the process; new threads inherit it."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setscheduler(int(thread.name), policy, os.sched_param(0))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder for this process. Raises BusyError."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise QueueBusyError(f"a queue works in {folder} already: stop it first") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def worker(folder: Path) -> int | None:
    """The process that holds the folder; the kernel releases it with the process."""
    try:
        file = (folder / LOCK).open()
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read())
    return None


def stop(folder: Path, patience_s: float) -> bool | None:
    """Ask the process that holds the folder to stop, and wait: whether it stopped; None without a process."""
    pid = worker(folder)
    if pid is None:
        return None
    to_foreground(pid)
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + patience_s
    while worker(folder) == pid:
        if time.monotonic() > end:
            return False
        time.sleep(POLL_S)
    return True


class Stop:
    """Whether a stop was requested, by SIGTERM or SIGINT."""

    def __init__(self) -> None:
        self.asked = False
        self._now = False

    def listen(self) -> None:
        """Handle the signals from now on; call it in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # signal's signature
        self.asked = True
        if self._now:
            raise Stopped

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within, a request raises Stopped at once: the next start repeats the work as a whole."""
        self._now = True
        try:
            if self.asked:
                raise Stopped
            yield
        finally:
            self._now = False
