"""``medsecure run`` as an operator meets it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from evaluation.phantom import Phantom, write_series
from pipeline.cli.run import verdict
from pipeline.run.summary import Tally
from tests.pipeline.cli.conftest import ROOT, Medsecure, Study, folders


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "results" / "summary.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.cluster)])
def test_every_file_is_accounted_for(
    study: Study, keys: Path, process: Medsecure, medsecure: Medsecure, tmp_path: Path, engine: str
) -> None:
    """Good slices are indexed, each hostile file is a dead letter that names it, and the sum comes out."""
    source = ["--source", study.folder, "--keys", keys / "site", "--engine", engine]
    summary = process("run", *source, *folders(tmp_path), "--max-rejects", "30%", "--json").json
    assert summary == summary_of(tmp_path)
    assert summary["inputs"] == summary["frames"] == len(study.good) + len(study.bad)
    assert (summary["indexed"], summary["already_indexed"]) == (len(study.good), 0)
    assert summary["rejected"] == len(study.bad)
    assert sum(summary["rejects_by_reason"].values()) == len(study.bad)
    assert summary["checkpoint"]["size"] == len(study.good)
    letters = medsecure("dead-letters", "list", tmp_path / "results", "--json").json
    assert {letter["path"] for letter in letters} == {str(path) for path in study.bad}
    assert all(letter["detail"] for letter in letters)
    assert medsecure("index", "verify", tmp_path / "index", "--json").json["ok"]
    assert len(list((tmp_path / "results").glob("*/seg.dcm"))) == 2


@pytest.mark.slow
def test_threads_need_no_ray(study: Study, keys: Path, tmp_path: Path) -> None:
    """With the local engine a run imports nothing of Ray, so that a laptop may do without it."""
    blocked = "import sys; sys.modules['ray'] = None; from pipeline.cli.app import main; main(sys.argv[1:])"
    command = [
        "run",
        "--engine",
        "local",
        "--source",
        study.folder / "p0",
        "--keys",
        keys,
        *folders(tmp_path),
    ]
    done = subprocess.run(
        [sys.executable, "-c", blocked, *map(str, command)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert summary_of(tmp_path)["indexed"] == 6


@pytest.mark.slow
def test_too_many_rejects_is_exit_code_1(
    study: Study, keys: Path, medsecure: Medsecure, tmp_path: Path
) -> None:
    """The run goes on to its end, and then says that too much was rejected."""
    source = ["--source", study.folder, "--keys", keys, "--engine", "local"]
    done = medsecure("run", *source, *folders(tmp_path), expect=1)
    assert "4 rejected" in done.out
    assert summary_of(tmp_path)["indexed"] == len(study.good)


@pytest.mark.slow
def test_a_source_without_an_image_is_exit_code_2(keys: Path, medsecure: Medsecure, tmp_path: Path) -> None:
    """The sentence names the source and what it holds; beside one image the same files fail nothing."""
    cd = tmp_path / "cd"
    cd.mkdir()
    (cd / "README.TXT").write_text("Open the viewer.\n")
    (cd / "VIEWER.EXE").write_bytes(b"MZ\x90\0")
    command = ["run", "--engine", "local", "--source", cd, "--keys", keys, *folders(tmp_path)]
    refused = medsecure(*command, expect=2)
    assert f"no image to segment in {cd}" in refused.err.replace("\n", " ")
    assert "2 not_an_image" in refused.err.replace("\n", " ")
    write_series(cd / "images", Phantom(size=128, spacing_mm=1.4, seed=1), 2, "X")
    summary = medsecure(*command, "--max-rejects", "0", "--json").json
    assert (summary["rejected"], summary["set_aside"]) == (2, 2)


@pytest.mark.slow
def test_the_same_folder_twice_indexes_nothing_twice(
    study: Study, keys: Path, medsecure: Medsecure, streamed: Path
) -> None:
    """A second run over the same files appends nothing; with --resume it does not even read pixels."""
    again = ["run", "--engine", "local", "--source", study.folder, "--keys", keys, "--max-rejects", "1"]
    second = medsecure(*again, *folders(streamed), "--json").json
    assert (second["indexed"], second["already_indexed"]) == (0, len(study.good))
    resumed = medsecure(*again, *folders(streamed), "--resume", "--json").json
    assert (resumed["indexed"], resumed["already_indexed"]) == (0, len(study.good))
    assert resumed["frames"] == second["frames"]
    assert "segment" not in resumed["stages"]


@pytest.mark.cluster
def test_kill_9_of_the_driver_then_resume(keys: Path, medsecure: Medsecure, tmp_path: Path) -> None:
    """A killed driver loses nothing: --resume ends with every slice indexed once."""
    for number in range(8):
        phantom = Phantom(size=128, spacing_mm=1.4, seed=number)
        write_series(tmp_path / "in" / f"p{number:02d}", phantom, 8, "X")
    command = ["run", "--engine", "local", "--source", tmp_path / "in", "--keys", keys, *folders(tmp_path)]
    environment = {"MEDSECURE__INGEST__BATCH": "8", "MEDSECURE__FLOW__BLOCK": "16"}
    process = subprocess.Popen(
        [sys.executable, "run_pipeline.py", *map(str, command[1:])],
        cwd=ROOT,
        env={**os.environ, **environment},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "index" / "tile" / "entries").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    summary = medsecure(*command, "--resume", "--json", env=environment).json
    assert summary["checkpoint"]["size"] == 64
    assert summary["frames"] == 64
    report = medsecure("index", "verify", tmp_path / "index", "--json").json
    assert (report["ok"], report["size"]) == (True, 64)
    keys_in_index = [one["key"] for one in medsecure("index", "list", tmp_path / "index", "--json").json]
    assert len(set(keys_in_index)) == 64


@pytest.mark.cluster
@pytest.mark.slow
def test_kill_9_of_every_worker_in_turn(keys: Path, medsecure: Medsecure, tmp_path: Path) -> None:
    """Ray workers are killed while the real stream runs; nothing is lost and nothing is twice."""
    for number in range(12):
        phantom = Phantom(size=128, spacing_mm=1.4, seed=number)
        write_series(tmp_path / "in" / f"p{number:02d}", phantom, 16, "X")
    process = subprocess.Popen(
        [sys.executable, "run_pipeline.py", "--source", tmp_path / "in", "--keys", keys, "--json"]
        + [str(one) for one in folders(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "MEDSECURE__FLOW__BLOCK": "64", "MEDSECURE__INGEST__BATCH": "16"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    killed: set[int] = set()
    while process.poll() is None and len(killed) < 4:
        time.sleep(0.3)
        if not (tmp_path / "index" / "tile" / "entries").exists():
            continue
        for child in psutil.Process(process.pid).children(recursive=True):
            if child.pid not in killed and "_RayHost.run" in " ".join(child.cmdline()):
                child.kill()
                killed.add(child.pid)
                break
    out, _ = process.communicate(timeout=200)
    summary = json.loads(out)
    assert killed
    assert (summary["indexed"], summary["already_indexed"], summary["rejected"]) == (192, 0, 0)
    assert medsecure("index", "verify", tmp_path / "index", "--json").json["size"] == 192
    assert len(list((tmp_path / "results").glob("*/seg.dcm"))) == 12


@pytest.mark.slow
def test_sigterm_drains(keys: Path, tmp_path: Path) -> None:
    """On SIGTERM what was taken is finished, and the summary says that the end was not reached."""
    for number in range(12):
        phantom = Phantom(size=128, spacing_mm=1.4, seed=number)
        write_series(tmp_path / "in" / f"p{number:02d}", phantom, 8, "X")
    process = subprocess.Popen(
        [sys.executable, "run_pipeline.py", "--engine", "local", "--source", tmp_path / "in", "--keys", keys]
        + [str(one) for one in folders(tmp_path)],
        cwd=ROOT,
        env={
            **os.environ,
            "MEDSECURE__FLOW__BLOCK": "8",
            "MEDSECURE__INGEST__BATCH": "8",
            "MEDSECURE__FLOW__WINDOW_ROWS": "8",
        },
        stdout=subprocess.DEVNULL,
    )
    while not (tmp_path / "index" / "tile" / "entries").exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 1
    summary = summary_of(tmp_path)
    assert not summary["complete"]
    assert summary["frames"] == summary["indexed"] < 96


@pytest.mark.slow
def test_resume_with_another_index_repeats_the_work(
    study: Study, keys: Path, medsecure: Medsecure, streamed: Path, tmp_path: Path
) -> None:
    """The ledger is believed only as far as the index bears it out."""
    shutil.copytree(streamed / "results", tmp_path / "results")
    base = ["run", "--engine", "local", "--source", study.folder, "--keys", keys, "--max-rejects", "1"]
    summary = medsecure(*base, *folders(tmp_path), "--resume", "--json").json
    assert (summary["indexed"], summary["already_indexed"]) == (len(study.good), 0)


def test_an_unknown_key_in_the_environment_is_named(medsecure: Medsecure) -> None:
    """A misspelt setting is an error, not silence."""
    done = medsecure("config", "show", env={"MEDSECURE__SEGMENT__TREADS": "2"}, expect=2)
    assert "MEDSECURE__SEGMENT__TREADS" in done.err


def test_config_show_is_toml_that_config_reads(medsecure: Medsecure, tmp_path: Path) -> None:
    """What is shown can be saved and given back."""
    shown = medsecure("config", "show", env={"MEDSECURE__FLOW__BLOCK": "512"}).out
    (tmp_path / "c.toml").write_text(shown)
    tree = medsecure("config", "show", "--config", tmp_path / "c.toml", "--json").json
    assert tree["flow"]["block"] == 512


@pytest.mark.slow
def test_metrics_are_served_while_running(study: Study, keys: Path, tmp_path: Path) -> None:
    """/metrics answers during the run with the stream's own counters."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "run_pipeline.py", "--engine", "local", "--source", study.folder),
            *("--keys", keys, *map(str, folders(tmp_path))),
            *("--metrics-port", str(port), "--max-rejects", "1"),
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    seen = ""
    while process.poll() is None and "medsecure_stage_frames_total{" not in seen:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                seen = answer.read().decode()
        except OSError:
            time.sleep(0.01)
    assert process.wait(timeout=60) == 0
    assert 'medsecure_stage_frames_total{stage="' in seen


@pytest.mark.slow
def test_dead_letters_are_replayed(study: Study, keys: Path, medsecure: Medsecure, tmp_path: Path) -> None:
    """A slice that was mended is indexed by a replay, its letter is gone, its series delivered whole."""
    folder = tmp_path / "in"
    shutil.copytree(study.good[0].parent, folder)
    broken = folder / study.good[2].name
    broken.write_bytes(study.good[2].read_bytes()[:5000])
    command = ["run", "--engine", "local", "--source", folder, "--keys", keys]
    medsecure(*command, *folders(tmp_path), expect=1)
    broken.write_bytes(study.good[2].read_bytes())
    replayed = medsecure("dead-letters", "replay", tmp_path / "results", "--json").json
    assert (replayed["indexed"], replayed["already_indexed"]) == (1, 5)
    assert medsecure("dead-letters", "list", tmp_path / "results", "--json").json == []
    (measured,) = (tmp_path / "results").glob("*/measurements.json")
    assert json.loads(measured.read_text())["slices"] == 6


def test_the_exit_code_is_1_beyond_the_share_and_where_the_run_was_stopped() -> None:
    """Exactly the share that is allowed is no failure; a run that did not see all of its sources is one."""
    tally = Tally(frames=100, kept=95, rejected=5)
    whole, stopped = (tally.summary(95, {}, complete=complete) for complete in (True, False))
    assert [verdict(whole, share) for share in (0.06, 0.05, 0.04)] == [0, 0, 1]
    assert verdict(stopped, 1.0) == 1
