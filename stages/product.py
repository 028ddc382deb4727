"""The product's name, as it stands in every file that it writes and by which it knows its own results."""

from __future__ import annotations

from typing import Final

PRODUCT: Final = "MedSecure-U"
