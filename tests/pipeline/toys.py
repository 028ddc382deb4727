"""Toy stages for the engine's tests: rows are numbers, keys say which."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.graph import Graph
from stages.base import Reason, Reject, Split
from stages.batches import Located, Uncounted
from stages.places import FileKind, Place


def key_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


def piece(numbers: Sequence[int], group: bytes | None = None, parts: int = 1) -> Located:
    return Located(
        keys=tuple(key_of(number) for number in numbers),
        series=tuple(group or key_of(10**6) for _ in numbers),
        places=tuple(Place(f"file-{number}", 0, FileKind.RASTER) for number in numbers),
        group=group,
        parts=parts,
    )


@dataclass(frozen=True)
class Numbers(Uncounted):
    keys: tuple[bytes, ...]
    value_N: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: Sequence[int]) -> Numbers:
        return Numbers(tuple(self.keys[row] for row in rows), self.value_N[list(rows)])

    def cut(self, lo: int, hi: int) -> Numbers:
        return self.take(range(lo, hi))

    @classmethod
    def join(cls, many: Sequence[Numbers]) -> Numbers:
        keys = tuple(key for one in many for key in one.keys)
        return cls(keys, np.concatenate([one.value_N for one in many]))


@dataclass(frozen=True)
class Read:
    """Makes a number of each key; numbers in ``bad`` are rejected, those in ``deadly`` kill the process."""

    bad: frozenset[int] = frozenset()
    deadly: frozenset[int] = frozenset()
    seconds: float = 0.0
    slow: frozenset[int] = frozenset()  # numbers that take a fifth of a second more
    name: str = "read"

    @contextmanager
    def open(self) -> Iterator[Callable[[Located], Split[Numbers]]]:
        yield self._run

    def _run(self, batch: Located) -> Split[Numbers]:
        time.sleep(self.seconds)
        numbers = [int.from_bytes(key, "big") for key in batch.keys]
        time.sleep(0.2 * len(self.slow.intersection(numbers)))
        if self.deadly.intersection(numbers):
            os.kill(os.getpid(), signal.SIGKILL)
        good = [row for row, number in enumerate(numbers) if number not in self.bad]
        kept = Numbers(
            tuple(batch.keys[row] for row in good), np.array([float(numbers[row]) for row in good])
        )
        rejected = tuple(
            Reject(key_of(number), self.name, Reason.CORRUPT, "bad number")
            for number in numbers
            if number in self.bad
        )
        return Split(kept, rejected)


@dataclass(frozen=True)
class Double:
    """Doubles; numbers in ``bad`` are rejected; ``bug`` raises; those in ``device`` fail as a GPU does."""

    bad: frozenset[int] = frozenset()
    device: frozenset[int] = frozenset()
    bug: bool = False
    seconds: float = 0.0
    name: str = "double"

    @contextmanager
    def open(self) -> Iterator[Callable[[Numbers], Split[Numbers]]]:
        yield self._run

    def _run(self, batch: Numbers) -> Split[Numbers]:
        time.sleep(self.seconds)
        if self.bug:
            raise ZeroDivisionError("a bug in double")
        if self.device.intersection(map(int, batch.value_N)):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        good = [row for row, value in enumerate(batch.value_N) if int(value) not in self.bad]
        lost = [row for row, value in enumerate(batch.value_N) if int(value) in self.bad]
        kept = Numbers(tuple(batch.keys[row] for row in good), batch.value_N[good] * 2)
        rejected = tuple(Reject(batch.keys[row], self.name, Reason.OVERFLOW) for row in lost)
        return Split(kept, rejected)


@dataclass(frozen=True)
class Bulk(Numbers):
    """Numbers that carry as many bytes as images would."""

    image_NB: NDArray[np.uint8]


@dataclass(frozen=True)
class Bulky:
    """Makes so many bytes of each key."""

    row_bytes: int
    seconds: float
    name: str = "bulky"

    @contextmanager
    def open(self) -> Iterator[Callable[[Located], Split[Bulk]]]:
        yield self._run

    def _run(self, batch: Located) -> Split[Bulk]:
        time.sleep(self.seconds)
        image_NB = np.zeros((len(batch), self.row_bytes - len(batch.keys[0]) - 8), np.uint8)
        return Split(Bulk(batch.keys, np.zeros(len(batch)), image_NB))


@dataclass(frozen=True)
class Log:
    """Appends each key once to a file, as the index does; a repeated key is skipped."""

    path: Path
    seconds: float = 0.0
    name: str = "log"

    @contextmanager
    def open(self) -> Iterator[Callable[[Numbers], Split[Numbers]]]:
        yield self._run

    def _run(self, batch: Numbers) -> Split[Numbers]:
        time.sleep(self.seconds)
        there = set(self.path.read_text().split()) if self.path.exists() else set()
        with self.path.open("a") as file:
            file.writelines(f"{key.hex()}\n" for key in dict.fromkeys(batch.keys) if key.hex() not in there)
        return Split(batch)


@dataclass(frozen=True)
class Closing(Log):
    """Takes its time to close, then says so in its file; ``full`` raises then, ``deadly`` dies, once."""

    closing_s: float = 0.0
    full: bool = False
    deadly: bool = False

    @contextmanager
    def open(self) -> Iterator[Callable[[Numbers], Split[Numbers]]]:
        yield self._run
        if self.deadly and not (marker := self.path.with_suffix(".died")).exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.closing_s)
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with self.path.open("a") as file:
            file.write("closed\n")


@dataclass(frozen=True)
class Deliver:
    """Writes one line for each call: the numbers it was given."""

    path: Path
    deadly: frozenset[int] = frozenset()
    name: str = "deliver"

    @contextmanager
    def open(self) -> Iterator[Callable[[Numbers], Split[Numbers]]]:
        yield self._run

    def _run(self, batch: Numbers) -> Split[Numbers]:
        numbers = [int.from_bytes(key, "big") for key in batch.keys]
        if self.deadly.intersection(numbers):
            os.kill(os.getpid(), signal.SIGKILL)
        with self.path.open("a") as file:
            file.write(" ".join(map(str, numbers)) + "\n")
        return Split(batch)


@dataclass(frozen=True)
class Apart(Deliver):
    """Dies, loudly, where two calls hold numbers of one hundred at a time."""

    @contextmanager
    def open(self) -> Iterator[Callable[[Numbers], Split[Numbers]]]:
        def run(batch: Numbers) -> Split[Numbers]:
            held = [self.path.with_name(f"held-{number}") for number in hundreds(batch)]
            for mark in held:
                mark.touch(exist_ok=False)
            time.sleep(0.05)
            for mark in held:
                mark.unlink()
            return self._run(batch)

        yield run


def hundreds(batch: Located | Numbers) -> set[int]:
    """What ``Apart`` keeps apart."""
    return {int.from_bytes(key, "big") // 100 for key in batch.keys}


def graph(
    folder: Path,
    read: Read = Read(),
    double: Double = Double(),
    log: Log | None = None,
    deliver: Deliver | None = None,
) -> Graph[Located, Numbers]:
    apart = hundreds if isinstance(deliver, Apart) else None
    return (
        Graph.of(read)
        .then(double)
        .beside(Graph.of(deliver or Deliver(folder / "delivered")), join=Numbers.join, apart=apart)
        .gather(narrow=same, join=Numbers.join)
        .then(log or Log(folder / "log"))
    )


def same(batch: Numbers) -> Numbers:
    return batch
