"""The device benchmark on a CPU: what it needs, how it ends, and a rehearsal of all steps at toy size."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import (
    device,
    device_finish,
    device_needs,
    device_pack,
    device_set,
    device_steps,
    device_train,
)
from stages.errors import OperatorError
from stages.preprocess.options import PreprocessOptions
from stages.segment.options import ModelConfig
from training.dataset import Labelled, joined
from training.options import TrainOptions
from training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "gpu.md").read_text()
OTHER = os.environ.get("MEDSECURE_DEVICE_PYTHON", "")


def command(*words: object, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    line = [python, "-m", "benchmarks.device", *map(str, words)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


def a_pack(folder: Path, mode: str) -> Path:
    """One whose files are whole and hold nothing."""
    files = [device_needs.ARCHIVE, *([device_needs.SET] if mode == "train" else [])]
    for name in files:
        (folder / name).write_bytes(b"")
    digests = {name: device_needs.digest(folder / name) for name in files}
    document = {"modules": device_needs.modules(mode), "files": digests}
    (folder / device_needs.MANIFEST).write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize("mode", device_needs.MODES)
def test_everything_that_is_needed_has_a_name(mode: str, tmp_path: Path) -> None:
    """Here nothing is missing, with a whole pack or with what is installed."""
    assert device_needs.missing(mode, None) == []
    assert device_needs.missing(mode, a_pack(tmp_path, mode)) == []


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack that is not there, one with a damaged or an absent file, and a module of the machine."""
    assert device_needs.missing("train", tmp_path) == [str(tmp_path / "pack.json")]
    pack = a_pack(tmp_path, "train")
    (pack / device_needs.SET).write_bytes(b"damaged")
    (pack / device_needs.ARCHIVE).unlink()
    monkeypatch.setattr(device_needs, "find_spec", lambda name: None if name == "torch" else name)
    named = ["torch", f"{pack / 'env.tar.xz'} whole", f"{pack / 'set.safetensors.xz'} whole"]
    assert device_needs.missing("train", pack) == named
    assert "set.safetensors.xz in" in device_needs.missing("train", a_pack_of_checks(tmp_path))[-1]


def a_pack_of_checks(folder: Path) -> Path:
    (folder / "other").mkdir()
    return a_pack(folder / "other", "checks")


def test_a_wrong_path_ends_the_command_at_once(tmp_path: Path) -> None:
    """Exit code 2 and the name, in seconds: no step is waited for."""
    began = time.monotonic()
    done = command("checks", "--pack", tmp_path / "nowhere", "--out", tmp_path / "absent")
    assert done.returncode == 2
    assert done.stdout == f"missing: {tmp_path / 'nowhere' / 'pack.json'}, the folder {tmp_path / 'absent'}\n"
    assert time.monotonic() - began < 20  # a second where nobody else computes


def test_a_step_is_killed_at_its_limit_with_all_it_started(tmp_path: Path) -> None:
    """A child that it waits for does not keep it alive."""
    script = f"sleep 60 & echo $! >{tmp_path / 'pid'}; wait"
    process = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    began = time.monotonic()
    assert device._wait(process, 1.0) is None
    assert time.monotonic() - began < 20
    child = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    deadline = time.monotonic() + 10
    while child.exists() and child.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.05)


def test_every_step_has_a_function() -> None:
    """None ends in a KeyError on the machine."""
    names = [step.name for steps in device.STEPS.values() for step in steps]
    assert all(callable(device_steps.steps(name)) for name in names)
    assert all((ROOT / path).is_file() for path in device_steps.TESTS)


def test_the_guide_gives_every_step_and_commands_that_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its table has each step's limit, and its two commands are taken as they stand."""
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", GUIDE, re.MULTILINE))
    assert rows == {step.name: str(step.limit_s) for steps in device.STEPS.values() for step in steps}
    lines = re.findall(r"^python3 -m benchmarks\.device (.+)$", GUIDE, re.MULTILINE)
    for mode, line in zip(device_needs.MODES, lines, strict=True):
        monkeypatch.setattr("sys.argv", ["device", *line.replace('"', "").split()])
        assert (asked := device._arguments()).mode == mode
        assert asked.pack == Path(".device") / mode
    assert 60 * asked.minutes + device_train.GRACE_S < asked.limit < 600


def test_every_package_of_the_pack_has_a_pinned_version() -> None:
    """The pack is what the project's own environment has."""
    assert len(device_pack.pinned()) == len(device_needs.MODULES)
    assert "ray==2.60.0" in device_pack.pinned()


@pytest.mark.parametrize(
    ("name", "stripped"),
    [
        ("ray/jars/ray_dist.jar", True),
        ("ray/dashboard/client/build/index.html", True),
        ("ray/dashboard/agent.py", False),
        ("ray/_raylet.so", False),
        ("ray/core/src/ray/raylet/raylet", False),
        ("imagecodecs/_jpeg8.abi3.so", False),
        ("imagecodecs/_shared_cython.abi3.so", False),
        ("imagecodecs/_jpegxl.abi3.so", True),
        ("imagecodecs.libs/libjpeg-f212e7a6.so.8.3.2", False),
        ("imagecodecs.libs/libaom-391a2213.so.3.13.1", True),
        ("pydicom/data/charset_files/chrH31.dcm", True),
        ("nibabel/tests/data/anatomical.nii", True),
        ("nibabel/nifti1.py", False),
    ],
)
def test_what_no_run_loads_is_stripped(name: str, stripped: bool) -> None:
    """And nothing else."""
    assert bool(device_pack.STRIPPED.fullmatch(name)) is stripped


def case(name: str, levels: int, seed: int = 0) -> Labelled:
    """Three slices of so many values, stacked to neighbours as preprocessing does."""
    random = torch.Generator().manual_seed(seed)
    own_NHW = torch.randint(0, levels, (3, 32, 32), generator=random) * 0.013 - 1.7
    x_NCHW = torch.stack((own_NHW[[0, 0, 1]], own_NHW, own_NHW[[1, 2, 2]]), 1)
    return Labelled(name, x_NCHW, (own_NHW > 0).float()[:, None], name.encode())


def test_a_packed_set_comes_back_bit_for_bit(tmp_path: Path) -> None:
    """Slices, truth, digests and folds."""
    cases = [case("a", 256), case("b", 17, 1)]
    path = tmp_path / "set"
    path.write_bytes(device_set.pack(cases, {"a": 0, "b": 1}))
    found, fold_of = device_set.unpack(path)
    assert fold_of == {"a": 0, "b": 1}
    for one, wanted in zip(found, cases, strict=True):
        assert torch.equal(one.x_NCHW, wanted.x_NCHW)
        assert torch.equal(one.truth_N1HW, wanted.truth_N1HW)
        assert (one.name, one.files) == (wanted.name, wanted.files)
    assert joined(found).digest == joined(cases).digest


def test_a_set_that_would_lose_something_is_refused() -> None:
    """More than 256 values in a slice, and neighbours that are not the case's own."""
    with pytest.raises(ValueError, match="more than 256 values"):
        device_set.pack([case("a", 5000)], {"a": 0})
    odd = case("a", 9)
    odd.x_NCHW[0, 0] += 1
    with pytest.raises(ValueError, match="does not come back"):
        device_set.pack([odd], {"a": 0})


def test_networks_come_back_in_few_files_of_the_size_allowed(tmp_path: Path) -> None:
    """Seven networks of the shipped size in two archives of less than 16 MiB."""
    names = [task.name for task in device_train.tasks(3)]
    assert names[:2] == ["attention-final", "attention-fold-0"]
    assert len(set(names)) == 7
    for name in names:
        (tmp_path / name).write_bytes(bytes(3_640_000))
    bundles = device_train.bundle([tmp_path / name for name in names], tmp_path)
    assert bundles == ["networks-0.tar", "networks-1.tar"]
    assert max((tmp_path / one).stat().st_size for one in bundles) < 16 << 20
    assert len(device_finish.extracted(tmp_path, tmp_path / "out")) == 0  # only weights files are networks
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(names)


def trainer(seed: int) -> Trainer:
    model = ModelConfig(channels=(8, 8), blocks=(1, 1), feature_dim=16)
    options = TrainOptions(batch=2, crop=16, model=model, seed=seed)
    return Trainer(joined([case("a", 9), case("b", 9, 1)]), options, "cpu", PreprocessOptions(size=32))


def test_a_network_that_comes_back_is_the_one_that_was_trained(tmp_path: Path) -> None:
    """In half precision, with its epochs and its curve; other data than its own are refused."""
    there = trainer(3)
    there.device_name = "some card"
    there.run_epoch()
    device_train.keep(there, tmp_path / "attention-final.safetensors")
    here = device_finish.restored(tmp_path / "attention-final.safetensors", there.slices)
    for name, value in there.average.state_dict().items():
        found = here.average.state_dict()[name]
        assert torch.equal(found, value.half().float() if value.is_floating_point() else value)
    assert (here.epoch, here.history, here.options.model) == (1, there.history, there.options.model)
    assert (here.device, here.device_name) == ("cpu", "some card")
    with pytest.raises(OperatorError, match="other data"):
        device_finish.restored(tmp_path / "attention-final.safetensors", joined([case("c", 9)]))


def rehearsed(python: str, out: Path, work: Path, *packed: object) -> dict[str, Any]:
    """Both modes on the CPU; what each step found."""
    found: dict[str, Any] = {}
    for mode in device_needs.MODES:
        words = ["--device", "cpu", "--toy", "--out", out, "--work", work / mode, "--limit", 1500]
        pack = ["--pack", packed[0] / mode] if packed else []  # type: ignore[operator]  # a path
        done = command(mode, *words, "--minutes", 0.02, *pack, python=python)
        report = json.loads((out / f"device-{mode}.json").read_text())["steps"]
        assert done.stdout.startswith(f"everything is there for {mode}\n")
        assert done.returncode == 0, {name: step.get("tail") for name, step in report.items()}
        found |= {name: step["found"] for name, step in report.items()}
    return found


def check(found: dict[str, Any], out: Path) -> None:
    """What a rehearsal on any CPU finds."""
    assert set(found) == {step.name for steps in device.STEPS.values() for step in steps}
    assert found["lwe"]["LWE32 int8 exact"]
    assert found["together"]["equal_answers"]
    assert [found[f"stream_{name}"]["indexed"] for name in ("ray", "small", "local")] == [8, 8, 8]
    assert set(found["train"]["trained"]) == {"attention-final", "attention-fold-0"}
    assert (out / "networks-0.tar").is_file()
    assert len(list(out.iterdir())) <= 8  # files that come back


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(1800)
def test_a_rehearsal_here(tmp_path: Path) -> None:
    """Every step of both modes runs to its end in the project's own environment."""
    (tmp_path / "out").mkdir()
    check(rehearsed(sys.executable, tmp_path / "out", tmp_path / "work"), tmp_path / "out")


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not OTHER, reason="MEDSECURE_DEVICE_PYTHON names no interpreter with torch 2.11")
@pytest.mark.skipif(not (ROOT / ".device").is_dir(), reason="no pack: run benchmarks.device_pack first")
def test_a_rehearsal_from_the_packs(tmp_path: Path) -> None:
    """The same under the interpreter of such a machine, with nothing but the packs beside the tree."""
    (tmp_path / "out").mkdir()
    found = rehearsed(OTHER, tmp_path / "out", tmp_path / "work", ROOT / ".device")
    check(found, tmp_path / "out")
