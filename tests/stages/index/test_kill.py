"""A real writer, really killed: run as a program, this module is that writer."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from hashlib import sha256
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from stages.batches import Rows, Sealed
from stages.index.check.verify import verify
from stages.index.options import IndexOptions
from stages.index.reader import open_reader
from stages.index.session import open_writer

ROOT = Path(__file__).resolve().parents[3]


def block(number: int) -> Sealed:
    """The number-th block of the stream, the same whenever it is asked for."""
    rows = 1 + number * 7 % 90
    keys = tuple(sha256(b"%d %d" % (number, row)).digest() for row in range(rows))
    columns_ND = np.full((rows, 4), number, np.uint32)
    return Sealed(Rows(keys, keys, keys, keys), b"header", np.full((4, 8), number, np.uint32), columns_ND)


def write(path: Path, first: int) -> None:
    """Append blocks for ever, saying each number once the block is acknowledged."""
    with open_writer(path, IndexOptions(segment_bytes=1 << 14)) as writer:
        for number in count(first):
            writer.append(block(number))
            os.write(1, b"%d\n" % number)


def killed_writer(path: Path, first: int, after_s: float) -> int:
    """Run a writer and kill it; the first block that was not acknowledged."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(path), str(first)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    line = process.stdout.readline()  # it has begun
    time.sleep(after_s)
    process.kill()
    rest, errors = process.communicate()
    assert line, errors.decode()
    return int((line + rest).splitlines()[-1]) + 1


def killed_again_and_again(path: Path, rounds: int) -> None:
    """Each writer begins with the block that its predecessor did not acknowledge."""
    pauses = random.Random(2026)  # noqa: S311 - not for secrets
    following = 0
    for _ in range(rounds):
        following = killed_writer(path, following, pauses.uniform(0, 0.4))
        assert verify(path).errors == ()  # what is published is whole
        with open_writer(path, IndexOptions()):
            pass  # the successor publishes what was committed
        assert verify(path).errors == ()
        acknowledged = [key for number in range(following) for key in block(number).rows.keys]
        found = list(open_reader(path).keys())
        assert found[: len(acknowledged)] == acknowledged
        assert found[len(acknowledged) :] in ([], list(block(following).rows.keys))


@pytest.mark.slow
def test_a_killed_writer_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    """After each kill the log is whole and holds what was acknowledged, once, in order."""
    killed_again_and_again(tmp_path / "index", 3)


@pytest.mark.slow
def test_a_writer_killed_a_dozen_times_loses_nothing(tmp_path: Path) -> None:
    """The same, long enough to hit every part of an append."""
    killed_again_and_again(tmp_path / "index", 12)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
