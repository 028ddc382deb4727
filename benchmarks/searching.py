"""Search as the index server and the owner run it, over a real index on disk, mapped into memory.

The index is written by the product's own writer from real blocks, repeated under fresh keys. ``first`` is
the first search after opening, which checks the SHA-256 of every block; the others find that done. The
limit beside them is the rate at which one thread reads memory: the maximum of the same mapped words.
"""

from __future__ import annotations

import itertools
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.report import seconds
from stages.batches import Rows, Sealed
from stages.encrypt.keys.owner import open_scores
from stages.encrypt.lwe.search import BlockScores, score_block
from stages.encrypt.lwe.wire import decode_header
from stages.index.options import IndexOptions
from stages.index.reader import Reader, open_reader
from stages.index.session import open_writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from stages.encrypt.keys.owner import SecretKey
    from stages.encrypt.lwe.scheme import EncryptedBlock
    from stages.index.store.segments import EncryptedBlock as Stored

SEALED_BYTES = 300  # a record's sealed identity, about
REPEATS = 3
ENOUGH_S = 2.0


def write_index(folder: Path, blocks: Sequence[EncryptedBlock], records: int) -> float:
    """An index of this many records; the seconds that writing took."""
    start = time.perf_counter()
    sealed = (os.urandom(SEALED_BYTES),)
    with open_writer(folder, IndexOptions()) as writer:
        for block in itertools.cycle(blocks):
            if records <= 0:
                return time.perf_counter() - start
            m = len(block.columns_ND)
            keys = os.urandom(32 * m)
            each = tuple(keys[lo : lo + 32] for lo in range(0, len(keys), 32))
            rows = Rows(each, (bytes(32),) * m, sealed * m, (b"",) * m)
            writer.append(Sealed(rows, block.header.encode(), block.head_Dn, block.columns_ND))
            records -= m
    raise AssertionError


def measure(folder: Path, sizes: Sequence[int], weights_D: NDArray[Any], secret: SecretKey) -> dict[str, Any]:
    """Microseconds per record of server and owner, and the memory's limit, for the first ``size`` records."""
    reader = open_reader(folder)
    found: dict[str, Any] = {"bytes on disk/record": _bytes(folder) / reader.size, "sizes": []}
    for size in sizes:
        count = -(-size // len(next(reader.blocks())))
        records = sum(len(block) for block in _some(reader, count))
        fresh = open_reader(folder)
        row: dict[str, Any] = {"records": records}
        first = _wall(lambda r=fresh, c=count: _serve(r, c, weights_D, 1))
        row["1 queries, first, us/record"] = 1e6 * first / records
        for threads in (1, 2):
            took = _median(lambda t=threads, r=fresh, c=count: _serve(r, c, weights_D, t))
            row[f"1 queries, {threads} threads, us/record"] = 1e6 * took / records
        row["mapping alone, us/record"] = 1e6 * _median(lambda r=fresh, c=count: _touch(r, c)) / records
        read = 1e6 * _median(lambda r=fresh, c=count: _read(r, c)) / records
        row["memory limit, us/record"] = read - row["mapping alone, us/record"]
        row["share of memory limit"] = row["memory limit, us/record"] / row["1 queries, 1 threads, us/record"]
        found["sizes"].append(row)
    block = next(reader.blocks())
    header = decode_header(block.header)
    answer = _answer(block, weights_D)
    open_one = seconds(lambda: open_scores(secret, header, answer, weights_D))
    words = answer.head_n.nbytes + answer.scores_N.nbytes
    found["owner, us/record"] = 1e6 * open_one / len(block)
    found["bytes/score"] = words / len(block)
    found["ciphertext bytes/record"] = (block.head_Dn.nbytes + block.columns_ND.nbytes) / len(block)
    return found


def _serve(reader: Reader, count: int, weights_D: NDArray[Any], threads: int) -> int:
    """The server's part over ``count`` blocks; how many scores it made."""
    with _mapper(threads) as over:
        answers = over(lambda block: _answer(block, weights_D), _some(reader, count))
        return sum(len(answer.scores_N) for answer in answers)


@contextmanager
def _mapper(threads: int) -> Iterator[Any]:
    """``map`` on this many threads, a bounded number of blocks ahead."""
    if threads == 1:
        yield map
        return
    with ThreadPoolExecutor(threads) as pool:

        def over(work: Any, blocks: Iterator[Stored]) -> Iterator[Any]:
            for part in iter(lambda: tuple(itertools.islice(blocks, 4 * threads)), ()):
                yield from pool.map(work, part)

        yield over


def _answer(block: Stored, weights_D: NDArray[Any]) -> BlockScores:
    header = decode_header(block.header)
    return score_block(header, block.head_Dn, block.columns_ND, weights_D, block.positions_N)


def _some(reader: Reader, count: int) -> Iterator[Stored]:
    return itertools.islice(reader.blocks(), count)


def _touch(reader: Reader, count: int) -> int:
    """Finding and mapping the blocks, and nothing with their words."""
    return sum(len(block) for block in _some(reader, count))


def _read(reader: Reader, count: int) -> int:
    """One pass over the same words that only reads them; mapping them included."""
    return max(max(int(b.head_Dn.max()), int(b.columns_ND.max())) for b in _some(reader, count))


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _wall(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _median(work: Any) -> float:
    """Of up to REPEATS calls; calls that take seconds need no repeating."""
    took = [_wall(work)]
    while len(took) < REPEATS and sum(took) < ENOUGH_S:
        took.append(_wall(work))
    return median(took)
