"""The queue as a process, on a toy folder: what it leaves, how it stops, how it goes on.

One test sees the queue give itself the lowest priority. The others skip that step: at the lowest priority a
process that computes for seconds takes minutes while something else fills the cores, another test for one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.segment import checkpoint
from tests.stages.segment.conftest import write_cases
from training import queue
from training.background import worker

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
SPLITS = """[[sets]]
folder = "a"
labels = "expert"
licence = "free"
worth = "good"
folds = [["CaseA"], ["CaseB"]]
held_out = ["CaseC"]
"""
PLAN = """[[trainings]]
name = "final"
attention = true
warm = true
options = { epochs = 12, batch = 6 }

[[trainings]]
name = "plain-fold-1"
attention = false
fold = 1
options = { epochs = 1, batch = 6, validation_epochs = 1 }
"""
EAGER = """
from training import background, queue
background.to_background = lambda: "the usual priority"
queue.main()
"""


class Toy:
    """A queue of its own: data, splits, plan and cache below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, folder / "cache"
        write_cases(folder / "a")
        for path in list((folder / "a").glob("CaseB*")):
            shutil.copy(path, path.with_name(path.name.replace("CaseB", "CaseC")))
        (folder / "splits.toml").write_text(SPLITS)
        (folder / "plan.toml").write_text(PLAN)

    def command(self, *words: str, lowest: bool = False) -> list[str]:
        options = {"--cache": "cache", "--plan": "plan.toml"}
        if words[0] in {"run", "measure"}:
            options |= {"--data": ".", "--splits": "splits.toml"}
        chosen = [word for name, path in options.items() for word in (name, str(self.folder / path))]
        program = ["-m", "training.queue"] if lowest else ["-c", EAGER]
        return [sys.executable, *program, *words, *(chosen[:2] if words[0] == "stop" else chosen)]

    def call(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """The queue runs as a process; what looks at it does so in this one, where torch is imported."""
        called = started if words[0] == "run" else called_here
        done = called(self.command(*words))
        assert done.returncode == code, done.stderr
        return done

    def start(self, *, lowest: bool = False) -> subprocess.Popen[bytes]:
        command = self.command("run", lowest=lowest)
        return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)

    def standing(self, name: str) -> dict[str, Any]:
        found = json.loads(self.call("status", "--json").stdout)["trainings"]
        return next(one for one in found if one["name"] == name)


def started(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def called_here(command: list[str]) -> subprocess.CompletedProcess[str]:
    """As the program of such a command would."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        queue.main(command[3:])
    return subprocess.CompletedProcess(command, int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    """Nothing is trained yet."""
    return Toy(tmp_path / "toy")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Everything is trained; tests here take it in their order."""
    found = Toy(tmp_path_factory.mktemp("queue") / "toy")
    found.call("run")
    return found


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 240
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def epoch_of(toy: Toy) -> int:
    """Read as a neighbour would, without a process."""
    path = toy.cache / "final" / "standing.json"
    return int(json.loads(path.read_text())["epoch"]) if path.exists() else 0


def catches(process: subprocess.Popen[bytes], number: signal.Signals) -> bool:
    """Whether the process has a handler of its own for this signal (proc_pid_status(5))."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    handled = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(handled, 16) >> (number - 1) & 1)


def policies(pid: int) -> set[int]:
    """The scheduling policies of all threads of a process."""
    return {os.sched_getscheduler(int(thread.name)) for thread in Path(f"/proc/{pid}/task").iterdir()}


def test_queue_works_at_the_lowest_priority_until_it_is_stopped(toy: Toy) -> None:
    """Every thread is idle-class before anything heavy is imported; a stop raises that and ends the work."""
    process = toy.start(lowest=True)
    wait_for(lambda: catches(process, signal.SIGTERM))
    assert policies(process.pid) == {os.SCHED_IDLE}
    assert worker(toy.cache) == process.pid
    assert toy.call("stop").stdout == "stopped\n"
    assert process.wait(60) == 0


def test_queue_leaves_weights_and_out_of_fold_figures(finished: Toy) -> None:
    """A final model learned from both folds, a fold's model from the other and is measured on its own."""
    final, fold = (
        checkpoint.describe(finished.cache / n / f"{n}.safetensors") for n in ("final", "plain-fold-1")
    )
    assert (final.training["cases"], fold.training["cases"]) == (2, 1)
    assert (final.model.attention, fold.model.attention) == (True, False)
    assert final.training["init_digest"] == checkpoint.describe().digest
    assert fold.training["init_digest"] is None
    figures = json.loads((finished.cache / "plain-fold-1" / "out-of-fold.json").read_text())
    assert [case["name"] for case in figures["cases"]] == ["CaseB"]
    assert figures["weights_digest"] == fold.digest
    assert not (finished.cache / "final" / "out-of-fold.json").exists()
    standing = finished.standing("plain-fold-1")
    assert (standing["state"], standing["epoch"], standing["eta_s"]) == ("finished", 1, None)
    assert standing["dice_volume"] == figures["mean"]["dice_volume"]
    assert standing["field_dice"] is not None
    assert standing["core_s"] > 0


def test_candidate_is_looked_at_once(finished: Toy, toy: Toy) -> None:
    """The held-out patients are measured for a final model, a second look and a fold's model are refused."""
    assert "cannot be read" in toy.call("measure", "final", code=2).stderr
    found = json.loads(finished.call("measure", "final").stdout)
    assert [case["name"] for case in found["sets"]["a"]["cases"]] == ["CaseC"]
    assert found == json.loads((finished.cache / "final" / "held-out.json").read_text())
    assert "looked at once" in finished.call("measure", "final", code=2).stderr
    assert "measured on its fold" in finished.call("measure", "plain-fold-1", code=2).stderr


def test_stopped_queue_goes_on_to_the_same_weights(toy: Toy, finished: Toy) -> None:
    """Stopped anywhere and started again it ends with the very weights of a queue that never stopped."""
    process = toy.start()
    wait_for(lambda: epoch_of(toy) >= 1)
    process.send_signal(signal.SIGSTOP)  # while we look at it
    assert worker(toy.cache) == process.pid
    assert "works in" in toy.call("run", code=2).stderr
    process.send_signal(signal.SIGCONT)
    assert toy.call("stop").stdout == "stopped\n"
    assert process.wait(60) == 0
    assert toy.call("stop").stdout == "no queue works\n"
    standing = toy.standing("final")
    assert standing["state"] == "stopped"
    assert 1 <= standing["epoch"] < 12

    toy.call("run")
    one, other = (
        checkpoint.load(at.cache / "final" / "final.safetensors")[0].state_dict() for at in (toy, finished)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_finished_training_of_another_recipe_is_not_taken_for_this_one(finished: Toy) -> None:
    """What is finished stays, unless the list has changed since."""
    again = finished.call("run").stderr
    assert not any(name in again for name in ("final", "plain"))
    (finished.folder / "plan.toml").write_text(PLAN.replace("epochs = 12", "epochs = 3"))
    assert "final failed" in finished.call("run", code=2).stderr
    assert "give the training another name" in finished.call("status").stdout


def test_failed_training_says_why_and_the_others_go_on(toy: Toy) -> None:
    """A damaged state stops one training, not the queue."""
    (toy.cache / "final").mkdir(parents=True)
    (toy.cache / "final" / "state.pt").write_bytes(b"nothing")
    assert "final failed" in toy.call("run", code=2).stderr
    assert toy.standing("final")["state"] == "failed"
    assert "state.pt is damaged" in toy.standing("final")["reason"]
    assert toy.standing("plain-fold-1")["state"] == "finished"


def test_queue_refuses_folders_that_the_splits_do_not_fit(toy: Toy) -> None:
    """Before anything is prepared."""
    for path in (toy.folder / "a").glob("CaseC*"):
        path.unlink()
    assert "lacks CaseC" in toy.call("run", code=2).stderr
    assert not toy.cache.exists()
