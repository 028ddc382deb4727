"""``medsecure evaluate``, ``train``, ``quantise`` and ``refit``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from pipeline.cli.console import Json, emit, show, stderr
from pipeline.cli.options import Config, DeviceOption, settings
from stages.errors import OperatorError
from stages.files import write_whole

if TYPE_CHECKING:
    from evaluation.scoring import Evaluation
    from training.train import Progress


def evaluate(
    source: Annotated[
        Path, typer.Option("--source", help="Folder of labelled cases: NAME and NAME_segmentation, or MSD.")
    ],
    weights: Annotated[
        Path | None, typer.Option("--weights", help="A weights file (default: the shipped model).")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with overlays of the worst cases.")
    ] = None,
    device: DeviceOption = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Measure segmentation on labelled cases with the stages of the stream.

    Example: medsecure evaluate --source cases/ --html worst.html
    """
    from evaluation.evaluate import evaluate as evaluate_cases
    from evaluation.report_html import WorstCases
    from pipeline.devices import devices, gpus_for
    from stages.segment.checkpoint import describe

    chosen = settings(config, run={"device": device}, segment={"weights": weights})
    if html is not None and not html.parent.is_dir():
        raise OperatorError(f"the folder {html.parent} does not exist: make it, or choose another --html")
    worst_cases = WorstCases()
    evaluation = evaluate_cases(
        source,
        chosen.ingest,
        chosen.preprocess,
        chosen.segment,
        devices(chosen, gpus_for(chosen)).segment,
        lambda name: stderr().print(f"[dim]{escape(name)}[/]"),
        worst_cases.keep if html else None,
    )
    if html is not None:
        info = describe(chosen.segment.weights)
        write_whole(html, worst_cases.page(evaluation, f"{info.path.name} {info.digest[:16]}").encode())
    if as_json:
        emit(evaluation.as_json())
    else:
        _show(evaluation)


def train(
    data: Annotated[
        Path, typer.Option("--data", help="Folder of labelled cases: NAME and NAME_segmentation, or MSD.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The weights file to write, .safetensors.")],
    device: DeviceOption = None,
    config: Config = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the state saved beside --out.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train the segmentation model with the options of the configuration section `train`.

    Example: MEDSECURE__TRAIN__MINUTES=60 medsecure train --data cases/ --out weights.safetensors
    """
    from pipeline.devices import device_here
    from training.train import TrainJob
    from training.train import train as train_model

    chosen = settings(config, run={"device": device})
    job = TrainJob(
        out=out,
        options=chosen.train,
        preprocess=chosen.preprocess,
        device=device_here(chosen),
        progress=_report,
        resume=resume,
    )
    report = train_model(data, job)
    if as_json:
        validation = report.validation.as_json() if report.validation else None
        emit(
            {
                "weights": str(report.weights),
                "epochs": report.epochs,
                "seconds": report.seconds,
                "loss": report.loss,
                "validation": validation,
            }
        )
        return
    typer.echo(f"{report.weights}: {report.epochs} epochs in {report.seconds:.0f} s, loss {report.loss:.4f}")
    if report.validation:
        _show(report.validation)


def quantise(
    weights: Annotated[
        Path | None, typer.Option("--weights", help="A weights file (default: the shipped model).")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Labelled cases to calibrate on (default: a synthetic phantom)."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make the int8 model of a weights file; `--device cpu` then uses it.

    Example: medsecure quantise --weights weights.safetensors --data cases/
    """
    from training.calibrate import quantise as quantise_model

    chosen = settings(config, segment={"weights": weights}).segment
    made = quantise_model(chosen.weights, data, chosen.artefacts)
    if as_json:
        emit(asdict(made))
        return
    typer.echo(f"{made.folder}, calibrated on {made.slices} slices")
    typer.echo(
        f"compared with single precision: Dice of the masks {made.mask_dice:.4f}, "
        f"mean cosine of the features {made.feature_cosine:.4f}"
    )


def refit(
    data: Annotated[
        Path, typer.Option("--data", help="The labelled cases that the weights were trained on.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The weights file to write, .safetensors.")],
    weights: Annotated[
        Path | None, typer.Option("--weights", help="A weights file (default: the shipped model).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add to a weights file the statistics that flag slices as out of distribution, without training again.

    Example: medsecure refit --weights old.safetensors --data cases/ --out new.safetensors
    """
    from training.refit import refit as refit_model

    made = refit_model(weights, data, out)
    if as_json:
        emit(asdict(made))
        return
    typer.echo(f"{made.weights}: {made.slices} slices to compare with, SHA-256 {made.digest}")


def _report(progress: Progress) -> None:
    done = f"epoch {progress.epoch} · {progress.fraction:.0%}"
    dice = progress.validation_dice
    seen = "" if dice is None else f" · validation Dice {dice:.4f}"
    stderr().print(f"{done} · loss {progress.loss:.4f}{seen} · {progress.seconds:.0f} s")


def _show(evaluation: Evaluation) -> None:
    columns = ("case", "Dice", "Dice of slices", "HD95 mm", "ASD mm", "ml", "true ml")
    rows = [
        (
            case.name,
            case.dice_volume,
            case.dice_slices,
            _figure(case.hd95_mm, 2),
            _figure(case.asd_mm, 2),
            _figure(case.volume_ml, 1),
            _figure(case.volume_true_ml, 1),
        )
        for case in evaluation.cases
    ]
    show("Segmentation against the reference", columns, rows)
    mean = evaluation.mean["dice_volume"]
    interval = evaluation.interval_95["dice_volume"]
    between = f" (95 % interval {interval[0]:.4f} to {interval[1]:.4f})" if interval else ""
    typer.echo(f"mean volume Dice {mean:.4f}{between}, pooled {evaluation.pooled_dice:.4f}")


def _figure(value: float | None, digits: int) -> float | str:
    return "none" if value is None else round(value, digits)
