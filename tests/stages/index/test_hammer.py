"""Readers in other processes, while a writer appends, erases and compacts: run as a program, this is either.

Every answer is checked: each checkpoint continues the last one, a record is what was appended under its key
or was erased for good, and every proof holds. ``blocks`` alone may show bytes that are being overwritten.
"""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
import time
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest

from stages.batches import Rows, Sealed
from stages.index import keeper
from stages.index.check.verify import verify
from stages.index.compact import compact
from stages.index.erase import erase
from stages.index.errors import ErasedError
from stages.index.log.erasure import Cause, is_erasure
from stages.index.log.proof import ErasureProof, GrowthProof, KeyProof, Proof
from stages.index.options import IndexOptions
from stages.index.reader import Reader, Record, open_reader, open_reader_at
from stages.index.session import open_writer
from stages.index.store.identity import is_index
from stages.index.store.manifest import MANIFEST
from stages.index.verifier import VerifiedProof, verify_proof
from stages.index.writer import Writer

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = IndexOptions(segment_bytes=1 << 14)
D, DIMENSION_n = 4, 64
KEPT = 4  # one row of so many may be erased, the others never are
PINNED = 4  # readers that stay open
SCANNED = 30  # blocks a look goes through
ROUNDS = 12  # before a writer closes and opens again, at most


def key_of(number: int, row: int) -> bytes:
    return number.to_bytes(16, "big") + row.to_bytes(16, "big")


def words(number: int, row: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """The words of a record, or of its block's head (row 0): none is zero."""
    return np.arange(1, count + 1, dtype=np.uint32) * (1 + number) + row * 1_000_003


def block(number: int) -> Sealed:
    """The number-th block of the stream, the same whenever it is asked for."""
    rows = 2 + number * 7 % 60
    keys = tuple(key_of(number, row) for row in range(rows))
    columns_ND = np.stack([words(number, row, D) for row in range(rows)])
    head_Dn = words(number, 0, D * DIMENSION_n).reshape(D, DIMENSION_n)
    return Sealed(Rows(keys, keys, keys, keys), b"header", head_Dn, columns_ND)


def is_appended(record: Record) -> bool:
    """Whether the record is what was appended under its key."""
    number, row = int.from_bytes(record.key[:16], "big"), int.from_bytes(record.key[16:], "big")
    return (
        record.sealed == record.key
        and record.position == row
        and np.array_equal(record.column_D, words(number, row, D))
        and np.array_equal(record.head_Dn, words(number, 0, D * DIMENSION_n).reshape(D, DIMENSION_n))
    )


def write(path: Path) -> None:
    """Append, erase now and then, compact now and then, close and open again, until the input ends."""
    dice, blocks = random.Random(1), count()  # noqa: S311 - not for secrets
    keeper.EVERY_S = 0.2  # type: ignore[misc]
    while not ended():
        with open_writer(path, OPTIONS) as writer:
            for _ in range(dice.randrange(1, ROUNDS)):
                for _ in range(dice.randrange(1, 5)):
                    writer.append(block(next(blocks)))
                if dice.random() < 0.5:
                    erase_some(writer, dice)
                if dice.random() < 0.2:
                    compact(writer)


def ended() -> bool:
    """Whether whoever started this process has closed its input."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def erase_some(writer: Writer, dice: random.Random) -> None:
    writer.publish()
    reader = open_reader(writer.directory)
    entries = {
        index: reader.prove(index).record for index in dice.sample(range(writer.size), min(9, writer.size))
    }
    some = {index: record[2:34] for index, record in entries.items() if not is_erasure(record)}
    erase(writer, {index: key for index, key in some.items() if key[-1] % KEPT == 0}, Cause.REQUEST)


class Readership:
    """One process's readers, and what they have seen so far."""

    def __init__(self, path: Path, seed: int) -> None:
        self._path = path
        self._dice = random.Random(seed)  # noqa: S311 - not for secrets
        self._pinned: list[Reader] = []
        self._gone: set[int] = set()
        self.checkpoints = 0

    def look(self) -> None:
        """Open the newest checkpoint, which continues the last one, and ask old and new readers."""
        newest = open_reader(self._path)
        if self._pinned:
            last = self._pinned[-1]
            assert newest.size >= last.size
            verified = self._verified(newest, newest.prove_growth(last.checkpoint))
            assert verified.old is not None
            assert (verified.old.size, verified.old.root) == (last.size, last.root)
        if not self._pinned or newest.checkpoint != self._pinned[-1].checkpoint:
            self._pinned = [*self._pinned[-PINNED:], newest]
            self.checkpoints += 1
        again = open_reader_at(self._path, self._pinned[0].checkpoint)
        for reader in (newest, self._dice.choice(self._pinned), again):
            if reader.size:
                for _ in range(6):
                    self._ask(reader, self._dice.randrange(reader.size))
                self._ask_for_keys(reader)
                self._scan(reader)

    def _ask(self, reader: Reader, index: int) -> None:
        proof, was_gone = reader.prove(index), index in self._gone
        if is_erasure(proof.record):
            with pytest.raises(IndexError, match="is no record"):
                reader.record(index)
            return
        assert self._verified(reader, proof).index == index
        try:
            record = reader.record(index)
        except ErasedError:
            assert proof.record[33] % KEPT == 0, f"record {index} was never erased"
            self._gone.add(index)
        else:
            assert not was_gone, f"record {index} came back"
            assert (record.index, record.leaf.encode()) == (index, proof.record)
            assert is_appended(record), f"record {index} is not what was appended"
            assert reader.find(record.key) == index or record.key[-1] % KEPT == 0

    def _ask_for_keys(self, reader: Reader) -> None:
        absent = self._dice.randbytes(32)
        assert reader.find(absent) is None
        assert self._verified(reader, reader.prove_key(absent)).claim == "absence"
        index = self._dice.randrange(reader.size)
        record = reader.prove(index).record
        if not is_erasure(record):
            verified = self._verified(reader, reader.prove_key(record[2:34]))
            there = index < (reader.keys_size or 0)
            assert (verified.claim, verified.index) == (("presence", index) if there else ("absence", None))
        for gone in self._dice.sample(sorted(self._gone), min(3, len(self._gone))):
            if gone < reader.size:
                self._ask_for_erased(reader, gone)

    def _ask_for_erased(self, reader: Reader, index: int) -> None:
        key = reader.prove(index).record[2:34]
        assert reader.find(key) is None
        if reader.find_erased(key) is not None:  # and not after this reader's checkpoint
            verified = self._verified(reader, reader.prove_erasure(index))
            assert (verified.claim, verified.key, verified.index) == ("erasure", key, index)

    def _scan(self, reader: Reader) -> None:
        """Blocks are views: they are right as long as the manifest is the one they were found by.

        A block comes in parts where records of it were erased; all of them were found at once.
        """
        before = seen = (self._path / MANIFEST).stat()
        held = None
        for found in islice(reader.blocks(), SCANNED):
            rows = [int.from_bytes(key[16:], "big") for key in found.keys]
            number = int.from_bytes(found.keys[0][:16], "big")
            if number != held and (number or held is None):  # keys are views too: zeros are no other block's
                before, held = seen, number
            right = np.stack([words(number, row, D) for row in rows])
            same = np.array_equal(found.columns_ND, right)
            seen = (self._path / MANIFEST).stat()
            assert same or (before.st_ino, before.st_mtime_ns) != (seen.st_ino, seen.st_mtime_ns)

    def _verified(
        self, reader: Reader, proof: GrowthProof | KeyProof | ErasureProof | Proof
    ) -> VerifiedProof:
        return verify_proof(proof.encode(), reader.log)


def read(path: Path, seed: int, checkpoints: int) -> None:
    """Look at a log that grows until it has had so many checkpoints."""
    while not is_index(path):
        time.sleep(0.01)
    readership, parent = Readership(path, seed), os.getppid()
    while readership.checkpoints < checkpoints and os.getppid() == parent:
        readership.look()


def started(*role: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, role)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def hammered(path: Path, readers: int, checkpoints: int) -> None:
    """One writer, until so many readers have seen so many checkpoints; each ends without an error."""
    writer = started("write", path)
    reading = [started("read", path, seed, checkpoints) for seed in range(readers)]
    said = [process.communicate() for process in reading]
    _, errors = writer.communicate()
    assert writer.returncode == 0, errors.decode()
    for process, (_, errors) in zip(reading, said, strict=True):
        assert process.returncode == 0, errors.decode()
    assert verify(path).errors == ()
    assert open_reader(path).records > checkpoints


@pytest.mark.slow
def test_readers_see_no_nonsense_while_a_writer_works(tmp_path: Path) -> None:
    """Appends, erasures, compactions and new writers; nothing is lost, nothing comes back."""
    hammered(tmp_path / "index", 2, 8)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_readers_see_no_nonsense_in_a_hundred_checkpoints(tmp_path: Path) -> None:
    """The same, with more of them and longer."""
    hammered(tmp_path / "index", 3, 100)


if __name__ == "__main__":
    role, where, *rest = sys.argv[1:]
    if role == "write":
        write(Path(where))
    else:
        read(Path(where), *map(int, rest))
