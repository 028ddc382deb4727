"""What ingest could not know for certain of a stack: carried with every row, stated in the result."""

from __future__ import annotations

from enum import StrEnum


class Doubt(StrEnum):
    """Why a stack may not be what it seems."""

    NONE = ""
    ORDER = "order"  # places were imaged again; only the order of numbers or times tells which image is whose
    INTERLOCKED = "interlocked"  # its slices lie evenly between those of other stacks
    TURNED = "turned"  # its planes are turned against those of other stacks in small steps, as in a fan
