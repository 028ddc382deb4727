"""Private idiom that documents, help texts, errors and rejects avoid: plain English has other words."""

from __future__ import annotations

import re
from collections.abc import Iterator

IDIOM = (
    "a path a line",
    "as without us",
    "asked for",
    "at hand",
    "believed",
    "bites its own tail",
    "come out",
    "comes out",
    "deadly",
    "for that of",
    "go home",
    "goes home",
    "heeded",
    "is said",
    "is to be used",
    "key of a record",
    "last word",
    "lately",
    "name less",
    "of before",
    "outlives",
    "proven as of",
    "record's key",
    "so many",
    "stranger",
    "taken no more",
    "told",
    "unlike",
    "what there is",
    "whoever",
    "without a word",
    "words will do",
)


def idioms(text: str) -> Iterator[str]:
    """The words of the list that the text has, in any case and across the ends of lines."""
    flat = " ".join(text.split())
    yield from (word for word in IDIOM if re.search(rf"\b{word}\b", flat, re.IGNORECASE))
