"""``medsecure crossvalidate`` and ``medsecure compare``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import Json, emit, show, stderr
from pipeline.cli.options import Config, DeviceOption, settings
from stages.errors import OperatorError
from stages.files import write_whole

if TYPE_CHECKING:
    from training.train import Progress

SCORES = "scores.json"
COMPARED = ("dice_volume", "dice_slices", "hd95_mm", "asd_mm")


def crossvalidate(
    data: Annotated[list[Path], typer.Option("--data", help="A folder of labelled cases; may be repeated.")],
    out: Annotated[Path, typer.Option("--out", help="The folder for the folds' weights and scores.json.")],
    folds: Annotated[
        int, typer.Option("--folds", min=2, max=100, help="The number of parts the patients are split into.")
    ] = 5,
    device: DeviceOption = None,
    config: Config = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep finished folds and continue.")] = False,
    as_json: Json = False,
) -> None:
    """Cross-validate the training recipe: each patient is scored by a model trained on other patients.

    Example: medsecure crossvalidate --data cases/ --data more/ --out folds/
    """
    from pipeline.devices import device_here
    from training.folds import crossvalidate as crossvalidate_model

    chosen = settings(config, run={"device": device})
    document = crossvalidate_model(
        data,
        out,
        chosen.train,
        folds,
        resume=resume,
        progress=_tell,
        preprocess=chosen.preprocess,
        device=device_here(chosen),
    )
    write_whole(out / SCORES, json.dumps(document, indent=2).encode() + b"\n")
    if as_json:
        emit(document)
        return
    rows = [(case["name"], case["fold"], *(case[name] for name in COMPARED)) for case in document["cases"]]
    show("Each patient scored by a model trained on others", ("case", "fold", *COMPARED), rows)
    low, high = document["interval_95"]["dice_volume"]
    mean = document["mean"]["dice_volume"]
    typer.echo(
        f"mean volume Dice {mean:.4f} (95 % interval {low:.4f} to {high:.4f}); scores in {out / SCORES}"
    )


def compare(
    first: Annotated[Path, typer.Argument(help="Scores of crossvalidate, or of evaluate --json.")],
    second: Annotated[Path, typer.Argument(help="Scores of the other model on the same patients.")],
    as_json: Json = False,
) -> None:
    """Test whether the second model scores higher than the first, paired by patient.

    Example: medsecure compare plain/scores.json attention/scores.json
    """
    from evaluation.intervals import gain

    one, other = _figures(first), _figures(second)
    try:
        gains = {name: gain(one[name], other[name]) for name in COMPARED if one[name] and other[name]}
    except ValueError as error:
        raise OperatorError(f"{first} and {second}: {error}") from error
    if as_json:
        emit({name: asdict(found) for name, found in gains.items()})
        return
    rows = [
        (name, g.patients, round(g.mean, 4), *(g.interval_95 or ("none", "none")), g.better, g.p_value)
        for name, g in gains.items()
    ]
    columns = ("figure", "patients", "mean gain", "95 % from", "to", "higher in", "p (Wilcoxon)")
    show(f"{second} less {first}", columns, rows)


def _figures(path: Path) -> dict[str, dict[str, float]]:
    """Each compared figure by patient, without the patients that lack it."""
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
        return {
            name: {case["name"]: float(case[name]) for case in cases if case[name] is not None}
            for name in COMPARED
        }
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise OperatorError(f"{path} does not hold scores of evaluate --json or crossvalidate") from error


def _tell(fold: int, progress: Progress) -> None:
    done = f"fold {fold} · epoch {progress.epoch} · {progress.fraction:.0%}"
    stderr().print(f"{done} · loss {progress.loss:.4f} · {progress.seconds:.0f} s")
