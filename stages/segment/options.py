"""The configuration section of segment and the network's shape, without importing torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

Runtime = Literal["auto", "torch", "openvino", "openvino-int8"]


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class SegmentOptions:
    """How the model is run and how its answer becomes a mask."""

    weights: Path | None = None
    """A safetensors file written by training; None is the shipped model."""
    batch: Annotated[int, Ge(1), Le(1024)] = 32
    """Slices per pass of the model."""
    threads: Annotated[int, Ge(1), Le(256)] = 1
    """CPU threads of one worker."""
    runtime: Runtime = "auto"
    """What executes the model; auto is torch on CUDA, on the CPU openvino-int8 where its artefact lies."""
    artefacts: Path | None = None
    """Folder of the int8 models that `medsecure quantise` makes; None is the weights file's."""
    flip_average: bool = False
    """Average the probability with that of the mirror image: a little more accurate, twice the time."""
    threshold: Annotated[float, Ge(0.05), Le(0.95)] = 0.5
    """The probability from which a pixel is inside."""
    largest_component: bool = True
    """Deliver the largest connected object of each stack, and others of about its size: a patient has one
    prostate, a series may show it several times."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything that decides the shapes of the weights."""

    in_channels: int = 3  # the slice before, the slice itself, the slice after
    channels: tuple[int, ...] = (16, 32, 96, 192)  # per encoder stage; the field shrinks by 2 a stage
    blocks: tuple[int, ...] = (1, 2, 2, 2)  # residual blocks per encoder stage
    attention: bool = True  # squeeze-excitation in the encoder
    feature_dim: int = 256

    def __post_init__(self) -> None:
        """Refuse shapes that no network has."""
        if len(self.channels) != len(self.blocks) or len(self.channels) < 2:  # noqa: PLR2004  # as said
            raise ValueError("channels and blocks need one entry per stage, and at least two stages")

    @property
    def stride(self) -> int:
        """The field's height and width must be multiples of this: the stem halves, and each stage but one."""
        return 1 << len(self.channels)
