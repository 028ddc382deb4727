"""The configuration section of training."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Le
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from stages.segment.options import ModelConfig


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class TrainOptions:
    """The training recipe, which the weights file records."""

    epochs: Annotated[int, Ge(1), Le(100_000)] = 60
    """The number of passes, each over as many slices as the data has. ``minutes`` replaces it."""
    minutes: Annotated[float, Gt(0)] | None = None
    """Training ends after this time instead of after ``epochs``, and the schedule is stretched to it. None
    counts epochs, which is reproducible."""
    batch: Annotated[int, Ge(2), Le(1024)] = 8
    """The number of slices per step."""
    learning_rate: Annotated[float, Gt(0), Le(1)] = 1.5e-3
    """The learning rate at the peak of the schedule."""
    weight_decay: Annotated[float, Ge(0), Le(1)] = 0.02
    """The weight decay of AdamW."""
    average_decay: Annotated[float, Ge(0), Le(0.99999)] = 0.995
    """The decay per step of the moving average of the weights."""
    structure_share: Annotated[float, Gt(0), Le(1)] = 0.67
    """The share of drawn slices that show the structure."""
    adversarial_share: Annotated[float, Ge(0), Le(1)] = 0.25
    """The share of steps whose input is first moved by one signed gradient step; 0 turns this off."""
    adversarial_step: Annotated[float, Gt(0), Le(1)] = 0.08
    """The largest change of a pixel by the attack, in standard deviations: about 4/255 of the grey range."""
    crop: Annotated[int, Ge(16), Le(4096)] = 96
    """Side in pixels of the squares that all but the last fifth of the schedule trains on, cut anywhere on
    the field: less work per step. The field's side means whole fields. A multiple of the network's stride."""
    init: Path | None = None
    """A weights file to start from; None starts from random weights."""
    seed: Annotated[int, Ge(0)] = 0
    """The seed of initial weights, order and augmentation."""
    threads: Annotated[int, Ge(1), Le(256)] = 1
    """The number of CPU threads."""
    validation: Path | None = None
    """The folder of cases that are measured and never trained on."""
    validation_epochs: Annotated[int, Ge(1), Le(100_000)] = 5
    """The number of epochs between two measurements of the validation cases during training."""
    compile: bool = False
    """On CUDA, compile the network before its passes are captured: a minute and more at the start."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network's shape."""

    def __post_init__(self) -> None:
        """Refuse squares that the network cannot halve to its bottleneck."""
        if self.crop % self.model.stride:
            stride = self.model.stride
            raise ValueError(f"crop {self.crop} is not a multiple of the network's stride {stride}")
