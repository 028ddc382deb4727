"""Which model's features an index holds: vectors of two models cannot be compared.

The note ``model.json`` lies beside the log, not in it: it guards against mistakes, not against attackers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from stages.base import OperatorError

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "model.json"


class OtherModelError(OperatorError):
    """The index holds features of another model than the one at hand."""


def note_model(index: Path, digest: str) -> None:
    """Write down the weights' SHA-256 where nothing is noted yet."""
    if not (index / _NAME).exists():
        new = index / f"{_NAME}.new"
        new.write_text(json.dumps({"weights": digest}) + "\n")
        new.replace(index / _NAME)


def check_model(index: Path, digest: str) -> None:
    """Raises OtherModelError where the index says that its features are another model's."""
    try:
        noted = json.loads((index / _NAME).read_text())["weights"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OtherModelError(f"{index / _NAME} is damaged: nobody knows whose features these are") from error
    if noted != digest:
        raise OtherModelError(
            f"{index} holds features of weights {noted[:16]}, these are {digest[:16]}: "
            "they cannot be compared, so use the weights it was made with, or another index"
        )
