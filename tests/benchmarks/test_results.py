"""Committed results: their goals are those of the code, and the documents state them."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import lwe, retrieval, segment, segment_gpu
from stages.encrypt.lwe.parameters import LWE32
from stages.encrypt.lwe.quantise import scale_for
from stages.encrypt.lwe.search import score_bound
from stages.encrypt.lwe.wire import Header

ROOT = Path(__file__).resolve().parents[2]
ADR = ROOT / "docs" / "adr" / "0005-feature-dimensions-and-weight-bits.md"
ROW = (
    "| {set} | {D} | {record bits} | {query bits} | {cosine error std:.1e} | {cosine error max:.1e} "
    "| {top-1 others:.3f} | {top-10 others:.3f} | {top-1 other patients:.3f} | {top-10 other patients:.3f} "
    "| {mask IoU, plain:.3f} | {mask IoU, encrypted:.3f} |"
)
DEFAULT = "| {set} | {D} | {scale} | {bytes/record:.0f} | {bytes/score:.0f} |"


def committed(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    return found


@pytest.mark.parametrize("benchmark", [lwe, retrieval, segment, segment_gpu], ids=lambda one: one.__name__)
def test_the_goals_of_a_committed_result_are_those_of_the_code(benchmark: ModuleType) -> None:
    """Every goal is there with its verdict, met or not, computed from the result's own figures."""
    document = committed(benchmark.__name__.rpartition(".")[2].replace("_", "-"))
    assert document["goals"] == [asdict(goal) for goal in benchmark.goals(document["results"])]
    assert document["goals"]


def test_the_decision_on_dimensions_and_bits_states_what_was_measured() -> None:
    """Both tables of ADR 5 are the committed result, row by row and nothing else."""
    results = committed("retrieval")["results"]
    lines = [line for line in ADR.read_text().splitlines() if line.startswith("| LWE")]
    expected = [ROW.format_map(row) for row in results["rows"]]
    expected += [DEFAULT.format_map(row) for row in results["defaults"]]
    assert lines == expected


def test_the_decision_names_the_counts_it_rests_on() -> None:
    """Records, queries and the share of cut queries in ADR 5 are those of the committed result."""
    results, text = committed("retrieval")["results"], ADR.read_text()
    wanted = {"set": "LWE32", "D": 256, "record bits": "default", "query bits": 8}
    row = next(row for row in results["rows"] if wanted.items() <= row.items())
    assert f"records, {results['records']} of them" in text
    assert f"the {results['queries']} that training never saw" in text
    assert f"{100 * row['queries cut']:.0f} % of the queries" in text
    alone = {f"{100 * row['image alone finds itself, encrypted']:.1f}" for row in results["defaults"]}
    assert sorted(re.findall(r"([\d.]+) % of the cases", text)) == sorted(alone)


def test_the_guide_states_what_the_gpu_reached() -> None:
    """Its table by size of batch is the committed result, row by row."""
    batches = committed("segment-gpu")["results"]["batches"]
    lines = (ROOT / "docs" / "segmentation.md").read_text().splitlines()
    for size, one in batches.items():
        found = [line for line in lines if re.match(rf"\| {size}( \(`segment.batch`\))? \|", line)]
        figures = (
            f"| {one['frames_per_s']:,.0f} | {one['device_frames_per_s']:,.0f} | {one['share_of_peak']:.1%} |"
        )
        assert [line.partition(" | ")[2] for line in found] == [figures.replace("%", " %")[2:]]


def test_without_the_data_retrieval_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The benchmark is skipped with its reason, and prints no figure."""
    monkeypatch.setattr("sys.argv", ["retrieval", "--data", str(tmp_path)])
    retrieval.main()
    out, err = capsys.readouterr()
    assert not out
    assert "promise12/train" in err
    assert str(tmp_path) in err


@settings(max_examples=50, deadline=None)
@given(D=st.integers(1, 600), bits=st.sampled_from(retrieval.BITS), seed=st.integers(0, 2**32 - 1))
def test_weights_of_n_bits_keep_to_their_bits_and_to_the_range(D: int, bits: int, seed: int) -> None:
    """No weight is wider than it may be, and no score of a block at the default scale can overflow."""
    header = Header(LWE32, bytes(32), D, scale_for(LWE32, D), 0, 1)
    feature_D = np.random.default_rng(seed).normal(size=D).astype(np.float32)
    weights_D = retrieval.weights_of(SimpleNamespace(header=header), feature_D, bits)
    assert np.abs(weights_D).max() <= 2 ** (bits - 1) - 1
    assert score_bound(header, weights_D) < LWE32.plaintext_bound
