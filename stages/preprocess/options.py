"""The configuration section of preprocess."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le, MultipleOf
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class PreprocessOptions:
    """What the network sees; recorded beside the weights that were trained on it."""

    size: Annotated[int, Ge(32), Le(1024), MultipleOf(16)] = 128
    """Side of the square field, in pixels."""
    spacing_mm: Annotated[float, Ge(0.1), Le(10)] = 1.0
    """Distance between field pixels, where the image's own spacing is known."""
    remove_background: bool = True
    """Set everything outside the patient's outline to the image's minimum."""
    low_percentile: Annotated[float, Ge(0), Le(49)] = 0.5
    """Values below this percentile of the patient are clipped to it; 0 clips none."""
    high_percentile: Annotated[float, Ge(51), Le(100)] = 99.5
    """Values above this percentile of the patient are clipped to it; 100 clips none."""
    clahe_clip_limit: Annotated[float, Ge(0), Le(40)] = 2.0
    """Contrast limit of the adaptive histogram equalisation, in mean bin heights; 0 leaves it out."""
    clahe_tiles: Annotated[int, Ge(1), Le(16)] = 4
    """Regions per side of the equalisation."""
    zscore: bool = True
    """Zero mean and unit variance over the patient; without it values stay in 0..1."""

    @property
    def in_levels(self) -> bool:
        """Whether prepared slices hold the 256 levels of equalisation rather than float32."""
        return self.clahe_clip_limit > 0
