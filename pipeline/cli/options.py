"""Options shared by the commands that read the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.config import Settings, load


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
