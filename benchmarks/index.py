"""The verifiable index: appends beside what the disk gives, proofs, and finding one record beside a scan.

    python -m benchmarks.index [--json]

Appends are of whole LWE blocks (D = 256, n = 1536), acknowledged when durable; beside them, in turns, the
same bytes written to one file, hashed once and fdatasync'ed, and the same records in SQLite (WAL,
synchronous=FULL) and LMDB. Proofs and retrieval are measured on records of four features, so that a million
fit; what is verified per record is the same. LMDB and pymerkle are measured where they are installed
(`pip install -e '.[peers]'`) and reported absent where not.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.report import Goal, at_least, at_most, emit
from stages.batches import Rows, Sealed
from stages.index.options import IndexOptions
from stages.index.reader import Reader, open_reader
from stages.index.session import open_writer
from stages.index.verifier import leaf_hash, verify_inclusion

D, DIMENSION_n = 256, 1536
SMALL_D, SMALL_n = 4, 8  # for a million records
BATCHES = (8, 64, 256, 1024)
ROUNDS, PER_ROUND = 5, 6  # the stores take turns, so that a slow moment hits all
SIZES = (1_000, 10_000, 100_000, 1_000_000)
PYMERKLE_SIZE = 100_000  # it takes long to build ten times that
ASKED = 100
COLD = 2  # fresh processes per size and way
Store = Callable[[Sealed], object]


def main() -> None:
    """Measure everything once and print it."""
    parser = argparse.ArgumentParser(description="The verifiable index beside its peers.")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--cold", nargs=3, metavar=("DIR", "KEY", "HOW"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.cold:
        print(cold_here(Path(asked.cold[0]), bytes.fromhex(asked.cold[1]), asked.cold[2]))
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("MEDSECURE_BENCH_DIR")) as folder:
        results = {"append": appends(Path(folder)), **retrieval(Path(folder)), "pymerkle": pymerkle()}
    packages = ("pyarrow", "cryptography", "numpy")
    emit("index", results, goals(results), packages, as_json=asked.json)


def make_block(seed: int, rows: int, features: int = D, dimension: int = DIMENSION_n) -> Sealed:
    """A block as encryption makes it, with random words."""
    rng = np.random.default_rng(seed)
    keys = tuple(sha256(b"%d %d" % (seed, row)).digest() for row in range(rows))
    sealed = tuple(rng.bytes(500 if features == D else 32) for _ in range(rows))
    head = rng.integers(0, 2**32, (features, dimension), np.uint32)
    columns = rng.integers(0, 2**32, (rows, features), np.uint32)
    return Sealed(Rows(keys, keys, sealed, keys), rng.bytes(64), head, columns)


# --- appends


def appends(folder: Path) -> dict[str, dict[str, float]]:
    """Milliseconds until a block is acknowledged, by batch size and store; and ours as a share of raw.

    The median of a turn; of a store's turns the best, since others use the machine too.
    """
    results = {}
    for rows in BATCHES:
        took = {name: min(turns) for name, turns in one_batch_size(folder / str(rows), rows).items()}
        line = {f"{name}, ms": 1e3 * seconds for name, seconds in took.items()}
        line |= {f"{name}, records/s": rows / seconds for name, seconds in took.items()}
        line["share of raw"] = took["raw"] / took["index"]
        results[str(rows)] = line
    return results


def one_batch_size(folder: Path, rows: int) -> dict[str, list[float]]:
    """Median seconds of an append, turn by turn, by store."""
    took: dict[str, list[float]] = {}
    stores = [("index", index_store), ("raw", raw_store), ("SQLite", sqlite_store)]
    if importlib.util.find_spec("lmdb"):
        stores.append(("LMDB", lmdb_store))
    for turn in range(ROUNDS):
        blocks = [make_block(turn * PER_ROUND + i, rows) for i in range(PER_ROUND)]
        for name, opened in stores:
            place = folder / name
            place.mkdir(parents=True, exist_ok=True)
            with opened(place) as append:
                took.setdefault(name, []).append(median([seconds_of(append, block) for block in blocks]))
    return took


def seconds_of(append: Store, block: Sealed) -> float:
    """Wall time of one append."""
    start = time.perf_counter()
    append(block)
    return time.perf_counter() - start


@contextmanager
def index_store(place: Path) -> Iterator[Store]:
    """Ours."""
    with open_writer(place, IndexOptions()) as writer:
        yield writer.append


@contextmanager
def raw_store(place: Path) -> Iterator[Store]:
    """The limit: the same bytes to the end of one file, hashed once, one fdatasync."""
    fd = os.open(place / "raw", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def append(block: Sealed) -> None:
        digest = sha256()
        for part in (block.header, block.head_Dn.data, block.columns_ND.data, b"".join(block.rows.sealed)):
            digest.update(part)
            os.write(fd, part)
        os.fdatasync(fd)

    yield append
    os.close(fd)


@contextmanager
def sqlite_store(place: Path) -> Iterator[Store]:
    """One row a record, one a head; nothing is hashed."""
    db = sqlite3.connect(place / "db", isolation_level=None)
    db.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        "CREATE TABLE IF NOT EXISTS heads (number INTEGER PRIMARY KEY, header BLOB, head BLOB);"
        "CREATE TABLE IF NOT EXISTS records (key BLOB PRIMARY KEY, head INTEGER, column BLOB, sealed BLOB);"
    )

    def append(block: Sealed) -> None:
        db.execute("BEGIN")
        head = db.execute("INSERT INTO heads VALUES (NULL, ?, ?)", (block.header, block.head_Dn.tobytes()))
        rows = zip(block.rows.keys, block.columns_ND, block.rows.sealed, strict=True)
        values = ((key, head.lastrowid, column.tobytes(), sealed) for key, column, sealed in rows)
        db.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", values)
        db.execute("COMMIT")

    yield append
    db.close()


@contextmanager
def lmdb_store(place: Path) -> Iterator[Store]:
    """The same in LMDB, durable at every commit."""
    import lmdb  # noqa: PLC0415 - optional peer

    with lmdb.open(str(place), map_size=1 << 32) as env:

        def append(block: Sealed) -> None:
            with env.begin(write=True) as transaction:
                transaction.put(b"head" + block.rows.keys[0], block.header + block.head_Dn.tobytes())
                for key, column, sealed in zip(
                    block.rows.keys, block.columns_ND, block.rows.sealed, strict=True
                ):
                    transaction.put(key, column.tobytes() + sealed)

        yield append


# --- proofs and retrieval


def retrieval(folder: Path) -> dict[str, Any]:
    """Proofs at the largest size; one record by index and by scan at every size, warm and cold."""
    results: dict[str, Any] = {"retrieval": {}}
    for size in SIZES:
        path = folder / f"of-{size}"
        start = time.perf_counter()
        keys = build(path, size)
        results["retrieval"][str(size)] = found = compare(path, keys)
        found["built, records/s"] = size / (time.perf_counter() - start)
        if size == SIZES[-1]:
            results["proof"] = proofs(open_reader(path))
    gains = [(size, results["retrieval"][str(size)]["warm, 1 - index/scan"]) for size in SIZES]
    results["index is faster from"] = next((size for size, gain in gains if gain > 0), None)
    return results


def build(path: Path, size: int) -> list[bytes]:
    """An index of so many small records; some of their keys, by chance."""
    chosen = random.Random(size)  # noqa: S311 - not for secrets
    keys: list[bytes] = []
    with open_writer(path, IndexOptions()) as writer:
        for first in range(0, size, 1024):
            block = make_block(first, min(1024, size - first), SMALL_D, SMALL_n)
            writer.append(block)
            keys.append(chosen.choice(block.rows.keys))
    return chosen.choices(keys, k=ASKED)


def compare(path: Path, keys: Sequence[bytes]) -> dict[str, float]:
    """Milliseconds to find a record and verify it up to the signed root, by index and by scan."""
    reader = open_reader(path)
    for key in keys:
        by_index(reader, key)
    warm_index = median(seconds(lambda key=key: by_index(reader, key)) for key in keys)
    few = keys[: max(5, min(ASKED, 50_000 // (reader.size // 1000 * 10)))]
    by_scan(reader, keys[0])
    warm_scan = median(seconds(lambda key=key: by_scan(reader, key)) for key in few)
    cold_index, cold_scan = (median(cold(path, key, how) for key in keys[:COLD]) for how in ("index", "scan"))
    return {
        "warm, index, ms": 1e3 * warm_index,
        "warm, scan, ms": 1e3 * warm_scan,
        "warm, 1 - index/scan": 1 - warm_index / warm_scan,
        "cold, index, ms": 1e3 * cold_index,
        "cold, scan, ms": 1e3 * cold_scan,
        "cold, 1 - index/scan": 1 - cold_index / cold_scan,
    }


def by_index(reader: Reader, key: bytes) -> int:
    """Key to index by the cache, then the record and its proof up to the signed root."""
    index = reader.find(key)
    assert index is not None
    assert reader.record(index).key == key
    return index


def by_scan(reader: Reader, key: bytes) -> int:
    """Through all blocks from the first until the key is met, then the same verification."""
    for block in reader.blocks():
        if key in block.keys:
            index = block.first_index + block.keys.index(key)
            assert reader.record(index).key == key
            return index
    raise AssertionError(key)


def cold(path: Path, key: bytes, how: str) -> float:
    """The same by a fresh process, after the kernel was asked to forget the files; opening included."""
    for file in path.rglob("*"):
        if file.is_file():
            fd = os.open(file, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)
    command = [sys.executable, "-m", "benchmarks.index", "--cold", str(path), key.hex(), how]
    root = Path(__file__).resolve().parents[1]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout)


def cold_here(path: Path, key: bytes, how: str) -> float:
    """Seconds from opening the index to the verified record."""
    start = time.perf_counter()
    {"index": by_index, "scan": by_scan}[how](open_reader(path), key)
    return time.perf_counter() - start


def proofs(reader: Reader) -> dict[str, float]:
    """Microseconds to make a proof and to check it, anywhere in the log, once its tiles are in memory."""
    chosen = random.Random(1)  # noqa: S311 - not for secrets
    for index in range(0, reader.size, 256):
        reader.prove(index)
    places = [chosen.randrange(reader.size) for _ in range(10 * ASKED)]
    made = [reader.prove(index) for index in places]

    def check(number: int) -> None:
        proof = made[number]
        assert verify_inclusion(leaf_hash(proof.record), proof.index, reader.size, proof.path, reader.root)

    return {
        "records": reader.size,
        "make, us": 1e6 * typical([lambda index=index: reader.prove(index) for index in places]),
        "check, us": 1e6 * typical([lambda number=number: check(number) for number in range(len(made))]),
    }


def pymerkle() -> dict[str, Any]:
    """The same of pymerkle's tree in memory, of fewer records, which favours it."""
    if importlib.util.find_spec("pymerkle") is None:
        return {"make, us": "pymerkle is not installed"}
    import pymerkle as peer  # noqa: PLC0415 - optional peer

    tree = peer.InmemoryTree(algorithm="sha256")
    for index in range(PYMERKLE_SIZE):
        tree.append_entry(index.to_bytes(166, "big"))
    chosen = random.Random(1)  # noqa: S311 - not for secrets
    places = [chosen.randrange(1, PYMERKLE_SIZE + 1) for _ in range(ASKED)]
    made = [tree.prove_inclusion(place, PYMERKLE_SIZE) for place in places]
    root = tree.get_root(PYMERKLE_SIZE)
    pairs = list(zip(places, made, strict=True))
    return {
        "records": PYMERKLE_SIZE,
        "make, us": 1e6 * typical([lambda at=at: tree.prove_inclusion(at, PYMERKLE_SIZE) for at in places]),
        "check, us": 1e6
        * typical(
            [lambda at=at, one=one: peer.verify_inclusion(tree.get_leaf(at), root, one) for at, one in pairs]
        ),
    }


def typical(calls: Sequence[Callable[[], object]]) -> float:
    """Median seconds of a call in the best of some turns, since others use the machine too."""
    return min(median(seconds(call) for call in calls) for _ in range(ROUNDS))


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def goals(results: dict[str, Any]) -> list[Goal]:
    """What we set out for, and whether it is so here."""
    largest = results["retrieval"][str(SIZES[-1])]
    made = [
        at_least(f"append of {rows}, share of raw", results["append"][str(rows)]["share of raw"], "", 0.8)
        for rows in BATCHES
    ]
    proof_us = results["proof"]["make, us"]
    made.append(at_most("proof, warm, of a million", proof_us, "us", 25))
    if not isinstance(results["pymerkle"]["make, us"], str):
        made.append(
            at_least("proof, pymerkle over ours", results["pymerkle"]["make, us"] / proof_us, "times", 4)
        )
    ratio = largest["warm, scan, ms"] / largest["warm, index, ms"]
    made.append(at_least("one of a million, scan over index", ratio, "times", 100))
    gain = min(results["retrieval"][str(size)]["warm, 1 - index/scan"] for size in SIZES)
    made.append(at_least("retrieval, least 1 - index/scan, warm", gain, "", 0.35))
    return made


if __name__ == "__main__":
    main()
