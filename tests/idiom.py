"""Words of a private dialect that help texts, errors and rejects avoid: plain English has others."""

from __future__ import annotations

import re
from collections.abc import Iterator

IDIOM = (
    "told",
    "is said",
    "unlike",
    "whoever",
    "stranger",
    "so many",
    "lately",
    "proven as of",
    "asked for",
    "key of a record",
    "record's key",
)


def idioms(text: str) -> Iterator[str]:
    """The words of the list that the text has."""
    yield from (word for word in IDIOM if re.search(rf"\b{word}\b", text))
