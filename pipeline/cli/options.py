"""Options of the commands that need the configuration, and how it is resolved for them."""

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
    """Where to compute."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


Config = Annotated[
    Path | None, typer.Option("--config", help="A TOML file; see `medsecure config show`.", dir_okay=False)
]
EngineOption = Annotated[
    Engine | None, typer.Option("--engine", help="Ray, or threads of this process.  [default: ray]")
]
DeviceOption = Annotated[Device | None, typer.Option("--device", help="Where to compute.  [default: auto]")]


def settings(config: Path | None, **sections: Mapping[str, object]) -> Settings:
    """The resolved configuration; ``sections`` are values of the command line, None where not given."""
    return load(config, sections)
