"""``medsecure plan``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.console import Json, emit, show
from pipeline.cli.options import Config, DeviceOption, machine_for, settings, settings_here
from stages.errors import OperatorError

if TYPE_CHECKING:
    from pipeline.plan import Choice

GIB = 1 << 30


def plan(
    here: Annotated[
        bool, typer.Option("--here", help="For this machine, as a run on it would choose.")
    ] = False,
    cores: Annotated[
        int | None, typer.Option("--cores", help="For a machine of this many cores.", min=1)
    ] = None,
    memory_gib: Annotated[
        float | None,
        typer.Option("--memory-gib", help="Memory in GiB; the plan assumes half of it as /dev/shm.", min=1),
    ] = None,
    gpus: Annotated[int, typer.Option("--gpus", help="Its number of GPUs.", min=0)] = 0,
    device: DeviceOption = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Print what a run takes in the section `flow` where the configuration names nothing, and why.

    Example: medsecure plan --here
    """
    from pipeline.machine import Machine
    from pipeline.plan import plan as plan_for

    if here == (cores is not None and memory_gib is not None):
        raise OperatorError("give --here, or a machine by --cores and --memory-gib")
    taken: dict[str, Any] = {}
    if cores is not None and memory_gib is not None:
        machine = Machine(cores, int(memory_gib * GIB), int(memory_gib * GIB) // 2, gpus)
    else:
        machine = machine_for(settings(config, run={"device": device}))
        taken = asdict(settings_here(config, run={"device": device}).flow)
    rows = [_row(name, choice, taken.get(name, choice.value)) for name, choice in plan_for(machine).items()]
    if as_json:
        flow = {name: {"value": value, "why": why} for name, value, why in rows}
        emit({"machine": asdict(machine), "flow": flow})
        return
    about = f"{machine.cores} cores, {machine.memory_bytes / GIB:.1f} GiB, {machine.gpus} GPU(s)"
    cells = [(name, _text(value), why) for name, value, why in rows]
    show(f"[flow] for {about}", ("key", "value", "why"), cells)


def _row(name: str, choice: Choice, taken: object) -> tuple[str, object, str]:
    """Key, value, and why: the configuration where it says otherwise."""
    if taken == choice.value:
        return name, taken, choice.why
    return name, taken, f"the configuration says so; the machine suggests {_text(choice.value)}"


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict) else f"{value:,}"
