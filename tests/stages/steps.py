"""The steps by which files change a disk: recorded, and failed one by one."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stages import files


class Killed(BaseException):
    """The process is gone."""


FULL = OSError(28, "No space left on device")
STEPS = ("open", "fsync", "replace", "link", "unlink", "mkdir")  # calls that change a disk, or wait for it
Act = Callable[[Path], None]


class Watch:
    """Records the steps that are made, by name and what they are about, and fails one of them.

    A full disk fails one step; a process that is killed makes none of the later ones either.
    """

    def __init__(self, patch: pytest.MonkeyPatch, fail_at: int = -1, failure: BaseException = FULL) -> None:
        self.seen: list[tuple[str, str]] = []
        self._number = 0
        self._fail_at, self._failure = fail_at, failure
        for name in STEPS:
            patch.setattr(os, name, partial(self._step, name, getattr(os, name)))

    def _step(self, name: str, real: Callable[..., Any], about: Any, *args: Any, **more: Any) -> Any:
        path = Path(f"/proc/self/fd/{about}").readlink() if isinstance(about, int) else Path(about)
        self.seen.append((name, "part" if path.suffix == ".part" else path.name))
        number, self._number = self._number, self._number + 1
        if number == self._fail_at or (self.met and isinstance(self._failure, Killed)):
            raise self._failure
        return real(about, *args, **more)

    @property
    def met(self) -> bool:
        """Whether there were as many steps."""
        return 0 <= self._fail_at < self._number


def content(path: Path) -> object:
    """A file's bytes; of a directory, those of everything in it, by name."""
    if path.is_dir():
        return {str(one.relative_to(path)): one.is_dir() or one.read_bytes() for one in path.rglob("*")}
    return path.read_bytes() if path.exists() else None


def directory(file: Path) -> None:
    """Here the file is a directory."""
    with files.whole_directory(file) as made:
        (made / "a").write_bytes(b"new")
        (made / "sub").mkdir()
        (made / "sub" / "b").write_bytes(b"new")
