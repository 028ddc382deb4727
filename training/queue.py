"""``python -m training.queue``: trains what ``queue.toml`` lists with idle core time.

A cache folder outside the tree holds the prepared cases and, for each training, its state, its standing, its
weights and its figures. A stopped training continues at the next batch.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stages.errors import OperatorError
from training import background
from training.plan import PLAN, Plan, Training, read_plan
from training.splits import SPLITS, Splits, read_splits
from training.standing import Standing, read_standing, table

if TYPE_CHECKING:
    from training.dataset import Labelled

PATIENCE_S = 60.0  # for a stop
PREPARED = "prepared"

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


def default_cache() -> Path:
    """The default cache folder (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medsecure" / "training"


Data = Annotated[
    Path, typer.Option("--data", help="Folder that holds the splits' folders of labelled cases.")
]
Cache = Annotated[
    Path,
    typer.Option("--cache", default_factory=default_cache, help="Folder for states, weights and figures."),
]
Threads = Annotated[int, typer.Option("--threads", min=1, max=256, help="CPU threads.")]
PlanFile = Annotated[Path, typer.Option("--plan", help="The list of trainings.")]
SplitsFile = Annotated[Path, typer.Option("--splits", help="Which patients teach and which measure.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
HERE = Path("../shared/data")


@app.command()
def run(
    cache: Cache,
    data: Data = HERE,
    threads: Threads = 1,
    plan: PlanFile = PLAN,
    splits: SplitsFile = SPLITS,
) -> None:
    """Train every unfinished training, one after another, until none is left or a stop is requested."""
    trainings, parts = read_plan(plan), read_splits(splits)
    trainings.refuse_other_folds(parts.folds)
    parts.check(data)
    with background.alone(cache):
        _say(f"process {os.getpid()} works at {background.to_background()}, {threads} thread(s)")
        stop = background.Stop()
        stop.listen()
        try:
            failed = _work(trainings, parts, data, cache, threads, stop)
        except background.Stopped:
            _say("stopped; the same command goes on")
            return
    if failed:
        raise OperatorError(f"{', '.join(failed)} failed; status says why")


@app.command()
def status(cache: Cache, plan: PlanFile = PLAN, as_json: JsonFlag = False) -> None:
    """Show the progress of every training; until its end with the Dice of left-out patients on the field."""
    pid = background.worker(cache)
    found = [_standing(one, cache, pid) for one in read_plan(plan).trainings]
    if as_json:
        document = {"pid": pid, "trainings": [one.as_json() for one in found]}
        typer.echo(json.dumps(document, indent=2))
        return
    typer.echo(table([one.row() for one in found]))
    for one in found:
        if one.reason:
            typer.echo(f"{one.name}: {one.reason}")
    typer.echo("no queue works" if pid is None else f"process {pid} works")


@app.command()
def stop(cache: Cache) -> None:
    """Ask the queue to save its state and stop, and wait for it."""
    stopped = background.stop(cache, PATIENCE_S)
    if stopped is False:
        raise OperatorError(f"process {background.worker(cache)} does not stop within {PATIENCE_S:g} s")
    typer.echo("stopped" if stopped else "no queue works")


@app.command()
def measure(
    name: Annotated[str, typer.Argument(help="A finished training on all folds.")],
    cache: Cache,
    data: Data = HERE,
    threads: Threads = 1,
    plan: PlanFile = PLAN,
    splits: SplitsFile = SPLITS,
) -> None:
    """Measure the held-out patients with a candidate's weights, once."""
    from training.session import measure_held_out  # noqa: PLC0415  # torch takes seconds

    if read_plan(plan).named(name).fold is not None:
        raise OperatorError(
            f"{name} is measured on its fold: only a model trained on all folds can be measured here"
        )
    parts = read_splits(splits)
    parts.check(data)
    typer.echo(json.dumps(measure_held_out(cache / name, parts, data, threads), indent=2))


def _work(
    plan: Plan, splits: Splits, data: Path, cache: Path, threads: int, stop: background.Stop
) -> list[str]:
    """The names of trainings that failed. Raises Stopped."""
    with stop.at_once():
        from stages.preprocess.options import PreprocessOptions  # noqa: PLC0415  # torch takes seconds,
        from training.prepared import prepared  # noqa: PLC0415  # and what takes them runs in the background

        pairs = splits.learned(data, without=None)
        cases = {case.name: case for case in prepared(pairs, PreprocessOptions(), cache / PREPARED)}
    _say(f"{len(cases)} patients prepared")
    failed = []
    for training in plan.trainings:
        try:
            _train(training, splits, data, cases, cache, threads, stop)
        except OperatorError as error:
            standing = read_standing(training, cache / training.name)
            standing.state, standing.reason = "failed", str(error)
            standing.write(cache / training.name)
            _say(f"{training.name} failed: {error}")
            failed.append(training.name)
    return failed


def _train(
    training: Training,
    splits: Splits,
    data: Path,
    cases: dict[str, Labelled],
    cache: Path,
    threads: int,
    stop: background.Stop,
) -> None:
    from training.session import Session, is_finished  # noqa: PLC0415  # torch takes seconds

    if is_finished(training, cache / training.name):
        return
    left_out = () if training.fold is None else splits.out_of_fold(data, training.fold)
    with stop.at_once():
        session = Session(training, cache / training.name, cases, left_out, threads)
    session.learn(stop, lambda one: _say("  ".join(one.row())))
    session.finish(stop)
    _say("  ".join(session.standing.row()))


def _standing(training: Training, cache: Path, pid: int | None) -> Standing:
    """The standing in its file, except that no training is active while no queue runs."""
    found = read_standing(training, cache / training.name)
    if pid is None and found.state in {"training", "measuring"}:
        found.state = "stopped"
    return found


def _say(sentence: str) -> None:
    typer.echo(sentence, err=True)


def main(arguments: Sequence[str] | None = None) -> Any:
    """The command line; an error that the operator can correct is one sentence and exit code 2."""
    try:
        return app(args=arguments, standalone_mode=True)
    except OperatorError as error:
        _say(f"error: {error}")
        sys.exit(2)


if __name__ == "__main__":
    main()
