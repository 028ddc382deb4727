"""Who made a result: written into every file that a clinic may keep."""

from __future__ import annotations

from typing import Final

from stages.product import PRODUCT

__all__ = ["MADE_BY", "NOTICE", "OUTLINE_RGB", "PRODUCT", "VERSION"]

VERSION: Final = "0.1.0"  # as pyproject.toml has it
NOTICE: Final = "Not a medical device. For research use only."
OUTLINE_RGB: Final = (255, 196, 0)  # of every outline: on the overlay, and recommended in a SEG
MADE_BY: Final = f"{PRODUCT} {VERSION}"  # in the field "Software" of pictures, which ingest looks for
