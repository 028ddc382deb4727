"""Options shared by the commands that read the configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.config import Settings, load

if TYPE_CHECKING:
    from pipeline.machine import Machine


class Engine(StrEnum):
    """Executors."""

    RAY = "ray"
    LOCAL = "local"


class Device(StrEnum):
    """Devices."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


Config = Annotated[
    Path | None,
    typer.Option(
        "--config", help="A TOML file with options; `medsecure config show` lists them.", dir_okay=False
    ),
]
EngineOption = Annotated[
    Engine | None, typer.Option("--engine", help="Run on Ray, or on threads of this process (default: ray).")
]
DeviceOption = Annotated[
    Device | None, typer.Option("--device", help="The device that computes (default: auto).")
]


def settings(config: Path | None, **sections: Mapping[str, object]) -> Settings:
    """The resolved configuration; ``sections`` are values of the command line, None where absent."""
    return load(config, sections)


def settings_here(config: Path | None, **sections: Mapping[str, object]) -> Settings:
    """The same for a run on this machine, with what the machine suggests where nothing else is named.

    A cluster's machines are not this one: its runs keep the defaults. Raises DeviceError.
    """
    from pipeline import plan

    chosen = settings(config, **sections)
    if chosen.run.address or (chosen.run.engine == "ray" and "RAY_ADDRESS" in os.environ):
        return chosen
    return load(config, sections, {"flow": plan.values(plan.plan(machine_for(chosen)))})


def machine_for(chosen: Settings) -> Machine:
    """This machine, with the GPUs that segmentation will use."""
    from pipeline.devices import devices, gpus_for
    from pipeline.machine import here

    gpus = gpus_for(chosen)
    return here(gpus if devices(chosen, gpus).segment == "cuda" else 0)
