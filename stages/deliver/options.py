"""The configuration section of deliver."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class DeliverOptions:
    """What is written for a series."""

    overlay_slices: Annotated[int, Ge(0), Le(48)] = 12
    """Most slices on the overlay; 0 leaves it out."""
    series_number: Annotated[int, Ge(1), Le(2**31 - 1)] = 900
    """Series Number of the DICOM Segmentations, within the source's study."""
    modalities: tuple[str, ...] = ("MR",)
    """Modalities in scope; a DICOM series of another gets no DICOM Segmentation. Empty: any."""
    out_of_distribution_share: Annotated[float, Ge(0), Le(1)] = 0.5
    """A stack with a larger share of slices out of distribution is marked in all its results."""
