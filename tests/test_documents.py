"""Every command in the documents is executed as it stands, and every link leads somewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.cli.conftest import Medsecure, medsecure

__all__ = ["medsecure"]

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "CONTRIBUTING.md",
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
FINDING = ("medsecure demo ", "medsecure run ")  # the demo's images include hostile ones: rejects exit 1
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def commands(document: Path) -> list[str]:
    lines = "\n".join(BLOCK.findall(document.read_text())).splitlines()
    return [stripped for line in lines if (stripped := line.partition("  #")[0].strip())]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `make demo`'s own recipe has been run."""
    folder = tmp_path_factory.mktemp("documents")
    run(folder, "medsecure demo --out demo")
    return folder


def run(folder: Path, command: str) -> None:
    """As a shell does."""
    path = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.run(
        shlex.split(command),
        cwd=folder,
        env={**os.environ, "PATH": path, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    judge(command, process.returncode, process.stderr + process.stdout)


def run_here(medsecure: Medsecure, command: str) -> None:
    """In this process and on threads: a third of the time, most of which is the import of torch."""
    done = medsecure(*shlex.split(command)[1:], env={"MEDSECURE__RUN__ENGINE": "local"}, expect=None)
    judge(command, done.code, done.err + done.out)


def judge(command: str, code: int, said: str) -> None:
    assert "Traceback" not in said, f"{command}\n{said}"  # a bug exits 1 as findings do
    assert code in ({0, 1} if command.startswith(FINDING) else {0}), f"{command}\n{said}"


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize("document", [d for d in DOCUMENTS if commands(d)], ids=lambda d: d.name)
def test_every_command_runs(
    demo: Path, document: Path, medsecure: Medsecure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a newcomer copies from the page works, in the page's order; from README as a shell runs it."""
    monkeypatch.chdir(demo)
    for made in ("keys", "index", "results"):
        shutil.rmtree(made, ignore_errors=True)
    for command in commands(document):
        if command.startswith("make "):
            target = command.split()[1]
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        elif command.startswith("medsecure ") and document.name != "README.md":
            run_here(medsecure, command)
        else:
            run(demo, command)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    """Relative links point to files of the project."""
    for target in LINK.findall(document.read_text()):
        assert (document.parent / target).exists(), target


def test_make_demo_is_what_the_tests_run() -> None:
    """The documented entry and the tested command are the same."""
    assert "$(BIN)/medsecure demo --out demo" in (ROOT / "Makefile").read_text()


def test_ci_runs_what_the_readme_says() -> None:
    """.ci/run is the README's own command."""
    assert "make check" in (ROOT / ".ci" / "run").read_text()
    assert "`make check`" in (ROOT / "README.md").read_text()


def test_the_readme_states_what_the_benchmark_measured() -> None:
    """Figures in the README are those of the committed result."""
    results = json.loads((ROOT / "benchmarks" / "results" / "throughput.json").read_text())["results"]
    readme = (ROOT / "README.md").read_text()
    assert f"**{results['ray']['frames_per_second']:.0f} frames/s**" in readme
    assert f"{results['threads']['frames_per_second']:.0f} frames/s: Ray reaches" in readme
    assert f"reaches {results['ray_to_threads']:.2f} of it" in readme
    assert f"| {results['ray']['memory_bytes'] / 2**30:.1f} GiB |" in readme


def test_each_table_of_figures_is_of_one_machine() -> None:
    """The results that a heading of the README names were measured on the machine that it names."""
    text = (ROOT / "README.md").read_text().partition("\n## Figures\n")[2].partition("\n## ")[0]
    headings = re.findall(r"^\*\*(.+?)\*\*(.+?):$", text, re.MULTILINE | re.DOTALL)
    measured = [(name, re.findall(r"\((benchmarks/\S+\.json)\)", links)) for name, links in headings]
    assert [len(files) for _, files in measured] == [2, 2, 1, 1]
    for name, files in measured[:-1]:
        first, *others = [json.loads((ROOT / file).read_text())["hardware"] for file in files]
        assert all(other == first for other in others)
        named = first["gpu"] or f"{first['cpu']} with AVX"
        assert named in name
        assert first["gpu"] or f"{first['memory_gib']} GiB" in name
    kernel = json.loads((ROOT / "benchmarks" / "results" / "lwe.json").read_text())["results"]
    (slower,) = [name for name, files in measured if "benchmarks/results/lwe.json" in files]
    assert f"with {kernel['torch cpu capability']}," in slower


def test_the_readme_states_how_fast_and_how_well_is_segmented() -> None:
    """So are those of segmentation, on CPU and GPU, and of the cross-validation."""
    folder = ROOT / "benchmarks" / "results"
    cpu, gpu = (
        json.loads((folder / f"{name}.json").read_text())["results"] for name in ("segment", "segment-gpu")
    )
    readme = (ROOT / "README.md").read_text()
    whole = {name: f"{one['frames_per_s']:.0f}" for name, one in cpu["whole"].items()}
    assert f"| {whole['openvino-int8']} frames/s in int8 (goal 116), {whole['openvino']} in single" in readme
    ratio = {name: f"{one:.0f}" for name, one in cpu["ratio"].items()}
    assert (
        f"| {ratio['openvino-int8']} \u00d7 as fast in int8, {ratio['openvino']} \u00d7 in single" in readme
    )
    assert f"| {max(one['frames_per_s'] for one in gpu['batches'].values()):,.0f} frames/s" in readme
    folds = json.loads((folder / "attention.json").read_text())["attention"]["mean"]["dice_volume"]
    assert f"| {folds:.3f} (goal 0.90: missed) |" in readme


def test_the_readme_states_what_encryption_and_index_measured() -> None:
    """So are those of encryption, of search and of the index."""
    folder = ROOT / "benchmarks" / "results"
    lwe, index = (json.loads((folder / f"{name}.json").read_text())["results"] for name in ("lwe", "index"))
    readme = (ROOT / "README.md").read_text()
    rate = max(one for name, one in lwe["encryption"].items() if "blocks of 1024" in name)
    for peer, digits in (
        ("phe-2048", 0),
        ("TenSEAL BFV-4096, 1 a ciphertext", 0),
        ("TenSEAL BFV-4096, 8 a ciphertext", 1),
    ):
        assert f"{rate * lwe['peers'][peer]['ms/image'] / 1e3:,.{digits}f} \u00d7 " in readme
    single, million = lwe["single image"], lwe["search"]["sizes"][-1]
    assert f"| {rate:,.0f} images/s" in readme
    assert f"| {single['online, ms']:.2f} ms ({single['all at once, ms']:.0f} ms with everything) |" in readme
    least = min(million[f"1 queries, {threads} threads, us/record"] for threads in (1, 2))
    assert f"| {least:.2f} s, {lwe['search']['bytes/score']:.0f} bytes a score" in readme
    one = index["retrieval"]["1000000"]
    assert f"{one['warm, scan, ms'] / one['warm, index, ms']:,.0f} times as fast as a scan" in readme
    goals = json.loads((folder / "index.json").read_text())["goals"]
    (append,) = [goal["value"] for goal in goals if goal["name"] == "append of 1024, share of raw"]
    assert f"| {append:.0%} (goal 80: missed) |".replace("%", " %") in readme
