"""The training step of the device benchmark: folds of both arms and a final model, side by side on one GPU.

A small network leaves most of a GPU idle, so they share it. Each ends by the clock. What comes back is the
averaged networks in half precision; ``device_finish`` does the rest at home.
"""

from __future__ import annotations

import json
import lzma
import tarfile
import time
import traceback
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors.torch import save_file

from benchmarks import device_needs as needs
from benchmarks.device import PATIENCE
from benchmarks.device_set import pack, unpack
from stages.preprocess.options import PreprocessOptions
from stages.segment.options import ModelConfig
from training.dataset import Labelled, joined
from training.options import TrainOptions
from training.train import recorded
from training.trainer import Trainer

if TYPE_CHECKING:
    from benchmarks.device_steps import Given

OPTIONS: Final = TrainOptions(batch=32, learning_rate=0.002, average_decay=0.998)
GRACE_S: Final = 40.0  # beyond its minutes, for starting and for its last step
BUNDLE_BYTES: Final = 15 << 20  # a file that comes back is at most 16 MiB
THREADS: Final = 2


@dataclass(frozen=True)
class Task:
    """One training."""

    attention: bool
    fold: int | None  # left out; None learns from all

    @property
    def name(self) -> str:
        """Of its file."""
        arm = "attention" if self.attention else "plain"
        return f"{arm}-final" if self.fold is None else f"{arm}-fold-{self.fold}"

    def options(self, minutes: float) -> TrainOptions:
        """The recipe."""
        return replace(OPTIONS, minutes=minutes, model=ModelConfig(attention=self.attention), threads=THREADS)


def tasks(folds: int) -> list[Task]:
    """Final model first: what may be shipped."""
    parts = [Task(attention, fold) for attention in (True, False) for fold in range(folds)]
    return [Task(attention=True, fold=None), *parts]


def step(given: Given) -> None:
    """Start all trainings, wait until their time is over, bundle what they leave."""
    cases = given.work / "set.safetensors"
    packed = lzma.decompress((given.pack / needs.SET).read_bytes()) if given.pack else _toy()
    cases.write_bytes(packed)
    folds = max(unpack(cases)[1].values()) + 1
    wanted = tasks(folds)[: 2 if given.toy else None]
    context = get_context("spawn")
    began = time.monotonic()
    running = [
        (
            task,
            context.Process(
                target=run, args=(task, str(cases), str(given.work), given.device, given.minutes)
            ),
        )
        for task in wanted
    ]
    for _, process in running:
        process.start()
    given.note(trainings=[task.name for task in wanted], minutes=given.minutes)
    grace_s = GRACE_S * (PATIENCE if given.toy else 1)
    late = []
    for task, process in running:
        process.join(max(began + 60 * given.minutes + grace_s - time.monotonic(), 0))
        late += [task.name] if process.is_alive() else []
        process.kill()
        process.join()
    given.note(late=late)
    left = [given.work / f"{task.name}.safetensors" for task, _ in running]
    given.note(
        seconds=time.monotonic() - began, bundles=bundle([one for one in left if one.is_file()], given.out)
    )
    given.note(
        trained={one.stem: json.loads(one.with_suffix(".json").read_text()) for one in left if one.is_file()}
    )
    if not all(one.is_file() for one in left):
        raise SystemExit("a training left nothing: it was late, or see above")


def run(task: Task, cases: str, work: str, device: str, minutes: float) -> None:
    """One training, in a process of its own."""
    try:
        torch.set_num_threads(THREADS)
        labelled, fold_of = unpack(Path(cases))
        slices = joined(case for case in labelled if task.fold is None or fold_of[case.name] != task.fold)
        trainer = Trainer(slices, task.options(minutes), device, PreprocessOptions())
        while trainer.fraction < 1:
            trainer.advance()
        keep(trainer, Path(work) / f"{task.name}.safetensors")
    except Exception:
        traceback.print_exc()
        raise


def keep(trainer: Trainer, path: Path) -> None:
    """The averaged network in half precision, and beside it how it came about, as JSON."""
    about: dict[str, Any] = {
        "options": recorded(trainer.options),
        "digest": trainer.slices.digest,
        "epoch": trainer.epoch,
        "step": trainer.step,
        "seconds": trainer.seconds,
        "loss": trainer.loss,
        "device": trainer.device_name,
    }
    path.with_suffix(".json").write_text(json.dumps(about))
    state = {name: _narrow(value) for name, value in trainer.average.state_dict().items()}
    save_file(state, path, {"about": json.dumps({**about, "history": trainer.history})})


def bundle(paths: list[Path], out: Path) -> list[str]:
    """The files in as few archives as their size allows; the archives' names."""
    groups: list[list[Path]] = []
    room = 0
    for path in paths:
        size = path.stat().st_size + 2048  # the archive's own part
        if size > room:
            groups.append([])
            room = BUNDLE_BYTES
        groups[-1].append(path)
        room -= size
    for number, group in enumerate(groups):
        with tarfile.open(out / f"networks-{number}.tar", "w") as tar:
            for path in group:
                tar.add(path, path.name)
    return [f"networks-{number}.tar" for number in range(len(groups))]


def _narrow(value: torch.Tensor) -> torch.Tensor:
    return (value.half() if value.is_floating_point() else value).cpu().contiguous()


def _toy() -> bytes:
    """Two cases of noise with a square in it."""
    made = []
    for number in range(2):
        own_NHW = torch.randint(
            0, 256, (4, 128, 128), generator=torch.Generator().manual_seed(number)
        ).float()
        truth_NHW = torch.zeros(4, 128, 128)
        truth_NHW[:, 40:80, 40:80] = 1
        x_NCHW = torch.stack((own_NHW[[0, 0, 1, 2]], own_NHW, own_NHW[[1, 2, 3, 3]]), 1)
        made.append(Labelled(f"Case{number}", x_NCHW / 128 - 1, truth_NHW[:, None], bytes([number])))
    return pack(made, {"Case0": 0, "Case1": 1})
