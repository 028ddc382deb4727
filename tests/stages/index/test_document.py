"""docs/index.md says what the code does."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.batches import Sealed
from stages.index import keeper
from stages.index.check import walk as audit
from stages.index.copies import listing
from stages.index.copies.bucket import open_store
from stages.index.copies.push import push
from stages.index.log import erasure, leaf
from stages.index.store import manifest
from stages.index.store.blocks import SCHEMA

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "docs" / "index.md").read_text()
NUMBERS = re.compile(r"^\| (\d+) \| (\d+) \|", re.MULTILINE)


def layout(*fields: str) -> list[tuple[int, int]]:
    """Offset and size of struct fields that follow one another without padding."""
    sizes = [struct.calcsize(f"<{field}") for field in fields]
    return [(sum(sizes[:i]), size) for i, size in enumerate(sizes)]


def table(heading: str) -> list[tuple[int, int]]:
    """Offset and size from the first table after these words."""
    rows: list[tuple[int, int]] = []
    for line in DOCUMENT.split(heading, 1)[1].splitlines():
        match = NUMBERS.match(line)
        if match:
            rows.append((int(match[1]), int(match[2])))
        elif rows:
            break
    return rows


def test_the_leaf_table_is_the_leafs_layout() -> None:
    """Offsets and sizes, field by field."""
    assert table("## Leaf record") == layout("B", "B", "32s", "I", *["32s"] * 4)
    assert sum(table("## Leaf record")[-1]) == leaf.LEAF_BYTES


def test_the_erasure_table_is_the_entrys_layout() -> None:
    """Offsets and sizes, field by field."""
    assert table("## Erasure") == layout("B", "B", "32s", "Q", "Q", "I")
    assert sum(table("## Erasure")[-1]) == erasure.ERASURE_BYTES


def test_the_manifest_table_is_the_rows_layout() -> None:
    """Offsets and sizes, field by field."""
    assert table("The manifest has one row per block") == layout(
        "Q", "I", "I", "Q", "Q", "Q", "I", "32s", "32s"
    )
    assert sum(table("The manifest has one row per block")[-1]) == manifest.ROW_BYTES


def test_the_columns_of_a_segment_are_named() -> None:
    """In the schema's order."""
    line = next(line for line in DOCUMENT.splitlines() if line.startswith("An Arrow IPC *stream*"))
    named = [name for name in re.findall(r"`(\w+)`", line) if name != "segment_bytes"][:7]
    assert named == SCHEMA.names


def listed(text: str) -> set[str]:
    """The names in the first column of its tables, as patterns."""
    names = re.findall(r"`([^`]+)`", "".join(re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)))
    return {
        re.escape(name)
        .replace("NNNNNN", r"\d{6}")
        .replace("L", r"\d+")
        .replace("…", ".*")
        .replace("DIGEST", "[0-9a-f]{64}")
        for name in names
    }


@pytest.mark.usefixtures("fast_disk")
def test_every_file_of_an_index_is_listed(tmp_path: Path, make_index: Callable[..., list[Sealed]]) -> None:
    """What an index of two levels holds is in the table, and nothing else is."""
    make_index(tmp_path, [300])
    patterns = listed(DOCUMENT.split("## Object storage")[0])
    for path in tmp_path.rglob("*"):
        if path.is_file():
            name = str(path.relative_to(tmp_path))
            assert any(re.fullmatch(f"{pattern}.*", name) for pattern in patterns), name
    for pattern in patterns - {"erasing"}:
        assert any(re.match(pattern, f"{path.relative_to(tmp_path)}/") for path in tmp_path.rglob("*")), (
            pattern
        )


@pytest.mark.usefixtures("fast_disk")
def test_every_object_of_a_pushed_log_is_listed(
    tmp_path: Path, make_index: Callable[..., list[Sealed]]
) -> None:
    """The table of object storage names all there is, and nothing that never is; so do its numbers."""
    make_index(tmp_path / "index", [300])
    push(tmp_path / "index", open_store(str(tmp_path / "there")))
    text = DOCUMENT.split("## Object storage")[1].split("\n## ")[0]
    there = [
        str(one.relative_to(tmp_path / "there")) for one in (tmp_path / "there").rglob("*") if one.is_file()
    ]
    patterns = listed(text) - {"part/.*"}
    assert all(any(re.fullmatch(pattern, name) for pattern in patterns) for name in there)
    assert all(any(re.fullmatch(pattern, name) for name in there) for pattern in patterns)
    assert f"{listing.CHUNK_ROWS:,} rows" in text
    assert first_line(tmp_path / "there") in text


def first_line(folder: Path) -> str:
    (file,) = (folder / "listing").iterdir()
    return f"`{file.read_text().splitlines()[0]}`"


def test_the_limit_on_findings_is_the_codes() -> None:
    """The number in the text."""
    assert f"stops after {audit.MAX_FINDINGS:,} findings" in DOCUMENT


def test_the_figures_are_those_of_the_benchmark() -> None:
    """Every number of the section on speed is that of the committed result."""
    results = json.loads((ROOT / "benchmarks" / "results" / "index.json").read_text())["results"]
    for rows, one in results["append"].items():
        row = f"| {int(rows):,} | {one['index, ms']:.1f} | {one['raw, ms']:.1f} | {one['share of raw']:.0%} |"
        assert f"{row} {one['SQLite, ms']:.1f} | {one['LMDB, ms']:.1f} |" in DOCUMENT
    for size, one in results["retrieval"].items():
        warm = (
            f"{one['warm, index, ms']:.2f} | {one['warm, scan, ms']:.1f} | {one['warm, 1 - index/scan']:.1%}"
        )
        cold = (
            f"{one['cold, index, ms']:.0f} | {one['cold, scan, ms']:.0f} | {one['cold, 1 - index/scan']:.1%}"
        )
        assert f"| {int(size):,} | {warm} | {cold} |" in DOCUMENT
        assert one["warm, 1 - index/scan"] > 0.35
    cold_met = [size for size, one in results["retrieval"].items() if one["cold, 1 - index/scan"] > 0.35]
    assert cold_met == ["1000000"]
    ours, theirs = results["proof"], results["pymerkle"]
    assert f"made in {ours['make, us']:.0f} µs and checked in {ours['check, us']:.0f} µs" in DOCUMENT
    assert f"takes {theirs['make, us']:.0f} and {theirs['check, us']:.0f} µs" in DOCUMENT


def test_the_share_of_the_time_that_the_key_tree_may_take_is_stated() -> None:
    """In the document and in the decision."""
    decision = (ROOT / "docs/adr/0010-the-key-tree-while-a-writer-runs.md").read_text()
    assert f"for at most {100 // keeper.SHARE} % of the time" in DOCUMENT
    assert f"at least {keeper.EVERY_S:.0f} s after the last, and at least {keeper.SHARE} times" in decision
