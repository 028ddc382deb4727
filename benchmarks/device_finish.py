"""Finishes at home what a device trained: features, novelty and figures, through the code of any training.

    python -m benchmarks.device_finish --networks FOLDER --out FOLDER [--data ../shared/data] [--threads 2]

Takes the ``networks-*.tar`` that ``benchmarks.device train`` leaves; writes weights, model card and curves of
each, and ``out-of-fold.json`` with the figures of all folds, in the form of ``evaluate --json``.
"""

from __future__ import annotations

import argparse
import json
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import TypeAdapter
from safetensors import safe_open

from benchmarks import device_needs as needs
from stages.errors import OperatorError
from stages.preprocess.options import PreprocessOptions
from training.dataset import Slices, joined
from training.options import TrainOptions
from training.prepared import prepared
from training.splits import Splits, read_splits
from training.train import finish
from training.trainer import Trainer

if TYPE_CHECKING:
    from training.dataset import Labelled


def main() -> None:
    """All networks of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--networks", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=needs.ROOT.parent / "shared" / "data")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    splits = read_splits()
    pairs = splits.learned(arguments.data, without=None)
    cases = {case.name: case for case in prepared(pairs, PreprocessOptions(), arguments.out / "prepared")}
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in extracted(arguments.networks, Path(folder)):
            figures[path.stem] = finished(path, cases, splits, arguments.data, arguments.out)
            print(f"{path.stem}: {json.dumps(figures[path.stem] and figures[path.stem]['mean'])}")
    (arguments.out / "out-of-fold.json").write_text(json.dumps(figures, indent=2) + "\n")


def extracted(networks: Path, folder: Path) -> list[Path]:
    """Every network of the archives, by name."""
    for archive in sorted(networks.glob("networks-*.tar")):
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    return sorted(folder.glob("*.safetensors"))


def finished(
    network: Path, cases: dict[str, Labelled], splits: Splits, data: Path, out: Path
) -> dict[str, Any] | None:
    """Write one network's weights; its figures on the part it has not seen, None for a final one."""
    fold = None if network.stem.endswith("-final") else int(network.stem.rpartition("-")[2])
    left_out = () if fold is None else splits.out_of_fold(data, fold)
    unseen = {pair.name for pair in left_out}
    slices = joined(case for name, case in cases.items() if name not in unseen)
    found = finish(restored(network, slices), left_out, out / network.name, PreprocessOptions())
    return None if found is None else found.as_json()


def restored(network: Path, slices: Slices) -> Trainer:
    """The training as it ended on the device. Raises OperatorError where its data were others."""
    with safe_open(network, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    if about["digest"] != slices.digest:
        raise OperatorError(f"{network.name} was trained on other data than these: pack and train again")
    options = TypeAdapter(TrainOptions).validate_python(about["options"])
    trainer = Trainer(slices, options, "cpu", PreprocessOptions())
    trainer.average.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    )
    trainer.device_name = about["device"]
    trainer.epoch, trainer.step = about["epoch"], about["step"]
    trainer.seconds, trainer.loss, trainer.history = about["seconds"], about["loss"], about["history"]
    return trainer


if __name__ == "__main__":
    main()
