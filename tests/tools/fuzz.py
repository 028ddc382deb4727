"""Property tests with fresh seeds for a given time: ``make fuzz`` (``make test`` repeats the same examples).

What is left of the time is shared evenly among the properties that have not run. Each is called again and
again, every call with a seed of its own, so its count of examples limits a call and not the search. The
examples database keeps each find, and the next run replays it first. A property that fails is shrunk beyond
its share; Hypothesis limits that to five minutes.

HypoFuzz is not used: it runs no test that asks for a fixture of pytest, and it never stops.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Generator
from functools import wraps
from time import monotonic
from typing import Any

import pytest

SHRINKING_S = 300  # the longest that Hypothesis shrinks a find


class TimeOver(KeyboardInterrupt):
    """The share of a property is spent. As on a key press, Hypothesis stops at once and saves no example."""


def until(end_s: float, test: Callable[..., None]) -> Callable[..., None]:
    """The property test, repeated until the clock shows ``end_s`` or an example fails."""
    from hypothesis.errors import UnsatisfiedAssumption  # noqa: PLC0415 (pytest wants to import it first)

    body = test.hypothesis.inner_test  # type: ignore[attr-defined]
    failed = False

    @wraps(body)
    def one_example(*args: Any, **kwargs: Any) -> Any:
        nonlocal failed
        if monotonic() >= end_s and not failed:
            raise TimeOver
        try:
            return body(*args, **kwargs)
        except UnsatisfiedAssumption:
            raise
        except (Exception, pytest.fail.Exception):
            failed = True  # Hypothesis calls again to shrink it
            raise

    @wraps(test)
    def repeated(**fixtures: Any) -> None:
        test.hypothesis.inner_test = one_example  # type: ignore[attr-defined]
        try:
            while monotonic() < end_s:
                test(**fixtures)
        except TimeOver:
            pass
        finally:
            test.hypothesis.inner_test = body  # type: ignore[attr-defined]

    return repeated


class Fuzz:
    """The pytest plugin that shares the time and says what to do with finds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end_s = 0.0
        self._waiting = 0
        self._finds: list[tuple[str, str]] = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._waiting = len(session.items)
        self._end_s = monotonic() + self._seconds

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        if monotonic() >= self._end_s:
            pytest.skip("the time of make fuzz is over: a larger FUZZ_SECONDS reaches this property")

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        now = monotonic()
        pyfuncitem.obj = until(now + (self._end_s - now) / self._waiting, pyfuncitem.obj)
        try:
            return (yield)
        except (Exception, pytest.fail.Exception) as error:
            self._finds += [(pyfuncitem.nodeid, text) for text in examples_of(error, pyfuncitem)]
            raise

    def pytest_runtest_logfinish(self) -> None:
        self._waiting -= 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._finds:
            return
        terminalreporter.section("finds")
        for nodeid, example in self._finds:
            terminalreporter.write_line(f"{nodeid} fails with\n{example}\n")
        terminalreporter.write_line(
            "Copy each @example(...) above the @given of its test, or write the draws of data(...) in the "
            "failure as a test of their own, so that make test repeats it; then mend the code and run "
            "make fuzz again, which replays the finds from .hypothesis/ first."
        )


def examples_of(error: BaseException, item: pytest.Function) -> list[str]:
    """The failing examples in the notes of Hypothesis, as decorators: without what fixtures gave."""
    errors = error.exceptions if isinstance(error, BaseExceptionGroup) else (error,)
    notes = [note for one in errors for note in getattr(one, "__notes__", ())]
    calls = [re.search(rf"\b{item.originalname}\(\n(.*)\n\)", note, re.DOTALL) for note in notes]
    return [_decorator(call[1], set(item.funcargs)) for call in calls if call]


def _decorator(arguments: str, fixtures: set[str]) -> str:
    """One argument begins on a line indented by four; the lines of a long value are indented further."""
    each = re.split(r"\n(?=    \w+=)", arguments)
    kept = [one for one in each if one.strip().partition("=")[0] not in fixtures]
    return "\n".join(["@example(", *kept, ")"])


def main() -> int:
    """Run the property tests of the given folders; 0 where none fails, 1 where one does."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("tests", nargs="*")
    options = parser.parse_args()
    pytest_options = [
        "-m=hypothesis",
        "--hypothesis-profile=fuzz",
        f"--timeout={options.seconds + SHRINKING_S}",
        *options.tests,
    ]
    return int(pytest.main(pytest_options, plugins=[Fuzz(options.seconds)]))


if __name__ == "__main__":
    sys.exit(main())
